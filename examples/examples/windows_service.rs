//! A Windows service: its control codes ask for the stop, since a service gets no console events.
//!
//! `sc create adjourn binPath= C:\path\windows_service.exe`, `sc start adjourn`, `sc stop adjourn`. Elsewhere
//! than on Windows it says so and ends.

#[cfg(windows)]
mod service {
    use std::ffi::OsString;
    use std::time::Duration;

    use adjourn::{Event, Exit, Inspector};
    use adjourn_examples::on_backend;
    use windows_service::service::{
        ServiceControl, ServiceControlAccept, ServiceExitCode, ServiceState, ServiceStatus,
        ServiceType,
    };
    use windows_service::service_control_handler::{
        self, ServiceControlHandlerResult, ServiceStatusHandle,
    };
    use windows_service::{define_windows_service, service_dispatcher};

    const NAME: &str = "adjourn";

    define_windows_service!(start, service_main);

    /// Hands the process to the service manager, until the service is over.
    pub(crate) fn run() -> Exit {
        match service_dispatcher::start(NAME, start) {
            Ok(()) => Exit::code(0),
            Err(error) => {
                eprintln!("this is started by the service manager, by `sc start {NAME}`: {error}");
                Exit::code(1)
            }
        }
    }

    /// Serves until it is asked to stop.
    async fn serve() {
        adjourn::ready();
        std::future::pending::<()>().await;
    }

    fn service_main(_: Vec<OsString>) {
        // The exit code goes to the manager; `main` ends with that of the dispatcher.
        let _: Exit = on_backend!(Runner => {
            let runner = Runner::new();
            let stopper = runner.stopper();
            let handle = move |control| match control {
                ServiceControl::Stop | ServiceControl::Shutdown => {
                    stopper.stop_because("the service manager");
                    ServiceControlHandlerResult::NoError
                }
                ServiceControl::Interrogate => ServiceControlHandlerResult::NoError,
                _ => ServiceControlHandlerResult::NotImplemented,
            };
            let Ok(manager) = service_control_handler::register(NAME, handle) else {
                return; // without the manager there is nobody to serve
            };
            tell(&manager, ServiceState::StartPending, 0);
            let exit = runner
                .observe(move |event: &Event, program: &Inspector| match event {
                    Event::Ready => tell(&manager, ServiceState::Running, 0),
                    // The manager waits as long as the program's own deadline says.
                    Event::Stopping(_) => stopping(&manager, program),
                    _ => {}
                })
                .run(serve());
            tell(&manager, ServiceState::Stopped, u32::from(exit.exit_code()));
            exit
        });
    }

    fn stopping(manager: &ServiceStatusHandle, program: &Inspector) {
        let left = program.status().and_then(|status| status.time_left).unwrap_or_default();
        let status = status(ServiceState::StopPending, 0);
        _ = manager.set_service_status(ServiceStatus { wait_hint: left, ..status });
    }

    fn tell(manager: &ServiceStatusHandle, state: ServiceState, code: u32) {
        _ = manager.set_service_status(status(state, code));
    }

    fn status(state: ServiceState, code: u32) -> ServiceStatus {
        let controls = match state {
            ServiceState::Running => ServiceControlAccept::STOP | ServiceControlAccept::SHUTDOWN,
            _ => ServiceControlAccept::empty(),
        };
        ServiceStatus {
            service_type: ServiceType::OWN_PROCESS,
            current_state: state,
            controls_accepted: controls,
            exit_code: if code == 0 {
                ServiceExitCode::Win32(0)
            } else {
                ServiceExitCode::ServiceSpecific(code)
            },
            checkpoint: 0,
            wait_hint: Duration::from_secs(5),
            process_id: None,
        }
    }
}

#[cfg(windows)]
fn main() -> adjourn::Exit {
    service::run()
}

#[cfg(not(windows))]
fn main() {
    eprintln!("this system has no Windows services");
}
