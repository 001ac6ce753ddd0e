//! Signals and exits: each part in a process of its own, which runs as the test's.

use std::future::pending;
use std::time::Duration;

use adjourn_core::signal::{self, Listener};
use adjourn_core::{
    Exit, FutureExt, Reason, ResultFutureExt, Scope, Signal, spawn, spawn_graceful, spawn_shielded,
};

use crate::case::Case;
use crate::executor_end::wedge_all;
use crate::limits::patience;
use crate::process::{Process, say};
use crate::program::{check, run};
use crate::setup::Setup;
use crate::sys::{self, SIGCONT, SIGHUP, SIGINT, SIGKILL, SIGSTOP, SIGTERM, SIGUSR1};
use crate::tools::{Gate, eventually, millis, sleep, yields};

/// Says why a program stopped, and ends the process as its user's would.
fn finish(exit: Exit) -> ! {
    check(&exit);
    match exit.report().reason() {
        Some(Reason::Signal(signal)) => say(&format!("stopped by {signal}")),
        Some(reason) => say(&format!("stopped by {reason}")),
        None => say("stopped by nothing"),
    }
    exit.exit()
}

/// Waits for a signal for ever, and cleans up.
async fn work() {
    let work = async {
        say("ready");
        pending::<()>().await;
    };
    work.on_cancel(async { say("cleaned up") }).await;
}

pub(crate) fn sigterm_and_sigint_stop(case: &Case) {
    if case.part().is_some() {
        finish(run(case, Setup::process(), |_| work()));
    }
    for (signal, name) in [(SIGTERM, "SIGTERM"), (SIGINT, "SIGINT")] {
        let ended = Process::start(case, "work").until("ready").send(signal).end().code(0);
        ended.said("cleaned up");
        ended.said(&format!("stopped by {name}"));
    }
}

pub(crate) fn a_burst_is_one_request(case: &Case) {
    if case.part().is_some() {
        finish(run(case, Setup::process(), |_| async {
            drop(spawn_graceful(|stop| async move {
                say("ready");
                stop.requested().await;
                sleep(millis(100)).await;
                say("drained");
            }));
            pending::<()>().await;
        }));
    }
    let mut process = Process::start(case, "drains").until("ready");
    for _ in 0..50 {
        process = process.send(SIGTERM);
    }
    let ended = process.end().code(0);
    ended.said("drained");
    ended.said("stopped by SIGTERM");
}

pub(crate) fn two_thousand_sigusr1_then_sigterm_not_lost(case: &Case) {
    if case.part().is_some() {
        let mut setup = Setup::process();
        setup.signals = vec![Signal::USER1, Signal::TERMINATE];
        let mut heard = false;
        setup.on_signal = Some(Box::new(move |signal, stopper| {
            if signal == Signal::TERMINATE {
                stopper.stop_because("SIGTERM");
            } else if !std::mem::replace(&mut heard, true) {
                say("heard SIGUSR1");
            }
        }));
        finish(run(case, setup, |_| work()));
    }
    let mut process = Process::start(case, "work").until("ready");
    process = process.send(SIGUSR1).until("heard SIGUSR1");
    for _ in 0..2000 {
        process = process.send(SIGUSR1);
    }
    // The system may deliver it before those that are pending; but it does come.
    let ended = process.send(SIGTERM).end().code(0);
    ended.said("stopped by a request: SIGTERM");
    ended.said("cleaned up");
}

pub(crate) fn second_sigint_with_wedged_workers(case: &Case) {
    const DEBOUNCE: Duration = millis(10);
    if case.part().is_some() {
        // On a thread of its own, which nothing wedges.
        let mut beside = Listener::new(&[Signal::INTERRUPT]).expect("SIGINT can be heard");
        std::thread::spawn(move || {
            beside.wait(None);
            say("heard");
        });
        let setup = Setup { debounce: Some(DEBOUNCE), ..Setup::process().timeout(100_000) };
        let exit = run(case, setup, |_| async {
            wedge_all();
            pending::<()>().await;
        });
        exit.exit();
    }
    let mut process = Process::start(case, "wedged").until("ready").send(SIGINT).until("heard");
    // On a busy machine the program may hear both at once, as one request: a later one forces.
    for _ in 0..5 {
        process = process.pause(100 * DEBOUNCE).send(SIGINT);
        if process.ends_within(patience()) {
            break;
        }
    }
    process.end().code(130).complained("forced by SIGINT");
}

pub(crate) fn exit_codes(case: &Case) {
    type Main = std::pin::Pin<Box<dyn Future<Output = Result<Exit, String>>>>;
    if let Some(part) = case.part() {
        let mut setup = Setup::process();
        if part == "a straggler" {
            setup = setup.timeout(1000);
        }
        setup.stop_on_panic = part == "a task panics";
        let main: Main = match part {
            "main fails" => Box::pin(async { Err("it broke".to_owned()) }),
            "main panics" => Box::pin(async { panic!("main panics") }),
            "a task fails" => Box::pin(async {
                drop(spawn(async { Err::<(), _>("the worker broke") }.or_stop()));
                pending().await
            }),
            "a task panics" => Box::pin(async {
                drop(spawn(async { panic!("a task panics") }));
                pending().await
            }),
            "a straggler" => Box::pin(async {
                drop(adjourn_core::task("deaf").spawn_shielded(pending::<()>()));
                sys::kill_self(Signal::TERMINATE);
                pending().await
            }),
            "main asks for 7" => Box::pin(async { Ok(Exit::code(7)) }),
            _ => Box::pin(async { Ok(Exit::code(0)) }),
        };
        let exit = case.subject().run(setup, Box::new(|_| Box::pin(async { Ok(main.await?) })));
        finish(exit);
    }
    for (part, code, complaint) in [
        ("main fails", 1, "it broke"),
        ("main panics", 101, "main panics"),
        ("a task fails", 1, "the worker broke"),
        ("a task panics", 101, "a task panics"),
        ("a straggler", 124, "deaf"),
        ("main asks for 7", 7, ""),
        ("nothing goes wrong", 0, ""),
    ] {
        Process::start(case, part).end().code(code).complained(complaint);
    }
}

pub(crate) fn a_second_listener_coexists(case: &Case) {
    if case.part().is_some() {
        sys::handle(Signal::TERMINATE); // a handler that knows nothing of listeners
        let mut before = Listener::new(&[Signal::TERMINATE]).expect("SIGTERM can be heard");
        let beside_is_over = Gate::new();
        let over = beside_is_over.clone();
        let exit = run(case, Setup::process(), |_| async {
            let mut beside = Listener::new(&[Signal::TERMINATE]).expect("SIGTERM can be heard");
            std::thread::spawn(move || {
                if beside.wait(None).count(Signal::TERMINATE) == 1 {
                    say("one beside heard it");
                }
                over.open();
            });
            work().await;
        });
        // The handlers may still be on their way on another thread.
        if before.wait(Some(patience())).count(Signal::TERMINATE) == 1 {
            say("one before heard it");
        }
        if eventually(|| sys::handled() == 1) {
            say("a foreign handler heard it");
        }
        eventually(|| beside_is_over.is_open());
        finish(exit);
    }
    let ended = Process::start(case, "work").until("ready").send(SIGTERM).end().code(0);
    ended.said("cleaned up");
    ended.said("one before heard it");
    ended.said("a foreign handler heard it");
    ended.said("one beside heard it");
}

pub(crate) fn handler_before_the_first_poll(case: &Case) {
    if case.part().is_some() {
        finish(run(case, Setup::process(), |_| async {
            sys::kill_self(Signal::TERMINATE); // with the default action this is the end
            work().await;
        }));
    }
    Process::start(case, "work").end().code(0).said("stopped by SIGTERM");
}

pub(crate) fn forked_child_does_not_stop_the_parent(case: &Case) {
    if case.part().is_some() {
        finish(run(case, Setup::process(), |_| async {
            let ended_by = sys::fork_and_raise(Signal::TERMINATE);
            say(&format!("the child died of {ended_by}"));
            sleep(millis(50)).await;
            let stop = Scope::current().stop_token();
            say(if stop.is_requested() { "the parent was told" } else { "the parent goes on" });
        }));
    }
    let ended = Process::start(case, "forks").end().code(0);
    ended.said(&format!("the child died of {SIGTERM}"));
    ended.said("the parent goes on");
    ended.said("stopped by nothing left to do");
}

pub(crate) fn forbidden_signal_is_an_err(case: &Case) {
    let mut setup = Setup::new();
    setup.signals = vec![Signal::from_raw(SIGKILL).expect("it is a signal")];
    let exit = run(case, setup, |_| async { panic!("main was polled") });
    let report = exit.report();
    assert_eq!(exit.exit_code(), 1, "the exit code:\n{report}");
    let error = report.start_error.as_deref().unwrap_or("no error");
    assert!(error.contains("SIGKILL"), "the error does not name the signal: {error}");
    assert_eq!(report.main, None, "main was polled:\n{report}");
}

pub(crate) fn run_twice(case: &Case) {
    if case.part().is_some() {
        let once = || {
            let exit = run(case, Setup::process(), |_| async {
                drop(spawn(pending::<()>()));
                work().await;
            });
            check(&exit);
            let cancelled = exit.report().total().cancelled;
            say(&format!("ended with {} after {cancelled} cancellations", exit.exit_code()));
        };
        once();
        once();
        // A repetition is swallowed for a while; then it has its default action again.
        for _ in 0..50 {
            sys::kill_self(Signal::TERMINATE);
            std::thread::sleep(Duration::from_millis(100));
        }
        return;
    }
    let mut process = Process::start(case, "twice");
    for _ in 0..2 {
        process = process.forget().until("ready").send(SIGTERM);
        process = process.until("ended with 0 after 2 cancellations");
    }
    process.end().died_of(SIGTERM);
}

pub(crate) fn nohups_ignored_sighup_stays_ignored(case: &Case) {
    if case.part().is_some() {
        sys::set_ignored(Signal::HANGUP, true);
        let mut setup = Setup::process();
        setup.signals.push(Signal::HANGUP);
        let exit = run(case, setup, |_| work());
        say(if signal::ignored(Signal::HANGUP) { "ignored as before" } else { "heard now" });
        finish(exit);
    }
    let process = Process::start(case, "work").until("ready").send(SIGHUP);
    let ended = process.pause(millis(50)).send(SIGTERM).end().code(0);
    ended.said("stopped by SIGTERM");
    ended.said("ignored as before");
}

pub(crate) fn stopped_process_ends_cleanly(case: &Case) {
    if case.part().is_some() {
        finish(run(case, Setup::process(), |_| async {
            let shielded = Gate::new();
            let opens = shielded.clone();
            drop(spawn_shielded(async move {
                opens.open();
                adjourn_core::StopToken::current().requested().await;
                yields(10).await;
                say("shielded work done");
            }));
            shielded.wait().await;
            work().await;
        }));
    }
    let process = Process::start(case, "work").until("ready").send(SIGSTOP).send(SIGTERM);
    let ended = process.pause(millis(100)).send(SIGCONT).end().code(0);
    ended.said("cleaned up");
    ended.said("shielded work done");
    ended.said("stopped by SIGTERM");
}
