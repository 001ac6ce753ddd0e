//! Which public types are `Send`, `Sync` and `Unpin`, and which are not: both are promises.
//!
//! A private field decides about these traits, so that a change inside could take one from a user,
//! or give one that has to be taken back later. `ci/public.sh` fails where a type is missing here.

use std::cell::Cell;
use std::marker::{PhantomData, PhantomPinned};

/// Neither `Send` nor `Sync`.
type Local = *mut ();
/// `Send` alone of the two: one thread after the other may have it.
type Moves = Cell<()>;
/// Not `Unpin`, as most futures.
type Pinned = PhantomPinned;

/// Reads off which of the traits `T` has: an associated constant of the type itself, where its
/// bound is met, goes before that of a trait.
struct Has<T>(PhantomData<fn() -> T>);

trait HasNot {
    const SEND: bool = false;
    const SYNC: bool = false;
    const UNPIN: bool = false;
    const LOCAL: bool = false;
}

impl<T> HasNot for Has<T> {}
impl<T: Send> Has<T> {
    const SEND: bool = true;
}
impl<T: Sync> Has<T> {
    const SYNC: bool = true;
}
impl<T: Unpin> Has<T> {
    const UNPIN: bool = true;
}
impl<T: adjourn::SpawnLocal> Has<T> {
    const LOCAL: bool = true;
}

/// Each type has those traits that are named behind it, and none of the others.
macro_rules! exactly {
    ($($type:ty: $($has:ident)*;)*) => {
        $({
            let has = [
                ("Send", Has::<$type>::SEND),
                ("Sync", Has::<$type>::SYNC),
                ("Unpin", Has::<$type>::UNPIN),
            ];
            let has = has.iter().filter(|(_, has)| *has).map(|(name, _)| *name);
            let expected: &[&str] = &[$(stringify!($has)),*];
            assert_eq!(has.collect::<Vec<_>>(), expected, "{}", stringify!($type));
        })*
    };
}

#[test]
fn the_probe_sees_what_is_there_and_what_is_not() {
    exactly! {
        (): Send Sync Unpin;
        Local: Unpin;
        Moves: Send Unpin;
        std::sync::MutexGuard<'static, ()>: Sync Unpin;
        Pinned: Send Sync;
    }
}

#[test]
fn scopes_tasks_and_stops() {
    use adjourn::*;
    exactly! {
        Scope: Send Sync Unpin;
        Scope<Local>: Unpin;
        Scope<Moves>: Send Unpin;
        Scope<Pinned>: Send Sync;
        ScopeStop: Send Sync Unpin;
        Task: Send Sync Unpin;
        JoinHandle<()>: Send Sync Unpin;
        JoinHandle<Moves>: Send Sync Unpin;
        JoinHandle<Pinned>: Send Sync Unpin;
        StopToken: Send Sync Unpin;
        Stopper: Send Sync Unpin;
        Requested: Send Sync Unpin;
    }
}

/// A handle of a local task goes where its executor's does. The task itself stays.
#[test]
fn local_tasks() {
    use adjourn::{LocalJoinHandle, smol::SmolLocal, tokio::TokioLocal};
    exactly! {
        LocalJoinHandle<(), TokioLocal>: Send Sync Unpin;
        LocalJoinHandle<Local, TokioLocal>: Unpin;
        LocalJoinHandle<Pinned, TokioLocal>: Send Sync Unpin;
        LocalJoinHandle<(), SmolLocal>: Send Sync Unpin;
        LocalJoinHandle<Local, SmolLocal>: Sync Unpin;
    }
}

/// Which backends have tasks that are not `Send`: on the others `spawn_local` does not compile.
#[test]
fn who_spawns_locally() {
    let local = [
        Has::<adjourn::tokio::TokioLocal>::LOCAL,
        Has::<adjourn::smol::SmolLocal>::LOCAL,
        Has::<adjourn_sim::SimBackend>::LOCAL,
    ];
    let not = [
        Has::<adjourn::AnyBackend>::LOCAL,
        Has::<adjourn::tokio::Tokio>::LOCAL,
        Has::<adjourn::smol::Smol>::LOCAL,
        Has::<adjourn::async_std::AsyncStd>::LOCAL,
        Has::<adjourn_sim::tokio::Paused>::LOCAL,
    ];
    assert_eq!((local, not), ([true; 3], [false; 5]));
}

/// What wraps a future has what the future has.
#[test]
fn wrapped_futures() {
    use adjourn::*;
    exactly! {
        Shield<()>: Send Sync Unpin;
        Shield<Local>: Unpin;
        Shield<Moves>: Send Unpin;
        Shield<Pinned>: Send Sync;
        UntilStop<()>: Send Sync Unpin;
        UntilStop<Local>: Unpin;
        UntilStop<Moves>: Send Unpin;
        UntilStop<Pinned>: Send Sync;
        UntilStopAnd<()>: Send Sync Unpin;
        UntilStopAnd<Local>: Unpin;
        UntilStopAnd<Moves>: Send Unpin;
        UntilStopAnd<Pinned>: Send Sync;
        Interruptible<()>: Send Sync Unpin;
        Interruptible<Local>: Unpin;
        Interruptible<Moves>: Send Unpin;
        Interruptible<Pinned>: Send Sync;
        rt::Timeout<(), ()>: Send Sync Unpin;
        rt::Timeout<Local, ()>: Unpin;
        rt::Timeout<(), Local>: Unpin;
        rt::Timeout<Moves, ()>: Send Unpin;
        rt::Timeout<(), Moves>: Send Unpin;
        rt::Timeout<Pinned, ()>: Send Sync;
        rt::Timeout<(), Pinned>: Send Sync;
        InScope<()>: Send Sync Unpin;
        InScope<Local>: Unpin;
        InScope<Moves>: Send Unpin;
        InScope<Pinned>: Send Sync;
        OrReport<()>: Send Sync Unpin;
        OrReport<Local>: Unpin;
        OrReport<Moves>: Send Unpin;
        OrReport<Pinned>: Send Sync;
        Interruptible<()>: Send Sync Unpin;
        Overdue: Send Sync Unpin;
        OverdueTask: Send Sync Unpin;
        Site: Send Sync Unpin;
        OnCancel<(), ()>: Send Sync Unpin;
        OnCancel<Local, ()>: Unpin;
        OnCancel<(), Local>: Unpin;
        OnCancel<Moves, ()>: Send Unpin;
        OnCancel<(), Moves>: Send Unpin;
        OnCancel<Pinned, ()>: Send Sync;
        OnCancel<(), Pinned>: Send Sync;
    }
}

#[test]
fn programs_and_reports() {
    use adjourn::*;
    exactly! {
        Runner: Send Unpin;
        adjourn_core::Runner<Local>: Send Unpin;
        Until: Send Sync Unpin;
        SecondInterrupt: Send Sync Unpin;
        Narrate: Send Sync Unpin;
        Reraise: Send Sync Unpin;
        Exit: Send Sync Unpin;
        Event: Send Sync Unpin;
        Inspector: Send Sync Unpin;
        Report: Send Sync Unpin;
        Status: Send Sync Unpin;
        Reason: Send Sync Unpin;
        At<()>: Send Sync Unpin;
        At<Local>: Unpin;
        Phase: Send Sync Unpin;
        PhaseSpan: Send Sync Unpin;
        TaskKind: Send Sync Unpin;
        Outcome: Send Sync Unpin;
        TaskReport: Send Sync Unpin;
        ScopeReport: Send Sync Unpin;
        HookReport: Send Sync Unpin;
        Timeline: Send Sync Unpin;
        TaskLabel: Send Sync Unpin;
        Failure: Send Sync Unpin;
        FailureKind: Send Sync Unpin;
        Totals: Send Sync Unpin;
        Straggler: Send Sync Unpin;
        StragglerState: Send Sync Unpin;
    }
}

#[test]
fn errors() {
    use adjourn::*;
    exactly! {
        JoinError: Send Sync Unpin;
        ExecutorGone: Send Sync Unpin;
        StopRequested: Send Sync Unpin;
        Elapsed: Send Sync Unpin;
        Reported: Send Sync Unpin;
        Unsupported: Send Sync Unpin;
        NoScope: Send Sync Unpin;
        StopError: Send Sync Unpin;
        StartError: Send Sync Unpin;
        rt::Unfinished: Send Sync Unpin;
        signal::SignalError: Send Sync Unpin;
    }
}

#[test]
fn signals() {
    use adjourn::signal::*;
    exactly! {
        Signal: Send Sync Unpin;
        Listener: Send Sync Unpin;
        Nudger: Send Sync Unpin;
        Received: Send Sync Unpin;
    }
}

#[test]
fn backends() {
    use adjourn::rt::*;
    exactly! {
        AnyBackend: Send Sync Unpin;
        Remote: Send Unpin;
        Queue<()>: Send Sync Unpin;
        Queue<Local>: Unpin;
        Queue<Moves>: Send Sync Unpin;
        Queue<Pinned>: Send Sync Unpin;
        Fused<()>: Send Sync Unpin;
        Fused<Local>: Unpin;
        Fused<Moves>: Send Unpin;
        Fused<Pinned>: Send Sync;
        AnyHandle<()>: Send Sync Unpin;
        AnyHandle<Local>: Send Sync Unpin;
        AnyHandle<Pinned>: Send Sync Unpin;
        AnySleep: Send Sync Unpin;
        Interval: Send Sync Unpin;
        Hosted: Send Sync Unpin;
        Threads: Send Sync Unpin;
    }
}

#[test]
fn tokio() {
    use adjourn::tokio::*;
    exactly! {
        Tokio: Send Sync Unpin;
        TokioHandle<()>: Send Sync Unpin;
        TokioHandle<Local>: Unpin;
        TokioHandle<Moves>: Send Sync Unpin;
        TokioHandle<Pinned>: Send Sync Unpin;
        TokioLocal: Send Sync Unpin;
        TokioLocalExecutor: Unpin;
        TokioExecutor: Send Sync Unpin;
        Sleep: Send Sync;
    }
    #[cfg(unix)]
    exactly! {
        Signals: Send Sync Unpin;
    }
}

#[test]
fn smol() {
    use adjourn::smol::*;
    exactly! {
        Smol: Send Sync Unpin;
        SmolHandle<()>: Send Sync Unpin;
        SmolHandle<Local>: Sync Unpin;
        SmolHandle<Moves>: Send Sync Unpin;
        SmolHandle<Pinned>: Send Sync Unpin;
        SmolLocal: Unpin;
        SmolExecutor: Send Unpin;
        Sleep: Send Sync Unpin;
    }
    #[cfg(unix)]
    exactly! {
        Signals: Send Sync Unpin;
    }
}

#[test]
fn async_std() {
    use adjourn::async_std::*;
    exactly! {
        AsyncStd: Send Sync Unpin;
        AsyncStdHandle<()>: Send Sync Unpin;
        AsyncStdHandle<Local>: Sync Unpin;
        AsyncStdHandle<Moves>: Send Sync Unpin;
        AsyncStdHandle<Pinned>: Send Sync Unpin;
        AsyncStdExecutor: Send Sync Unpin;
        Sleep: Send Sync Unpin;
    }
}

#[test]
fn simulator() {
    use adjourn_sim::*;
    exactly! {
        Sim: Send Sync Unpin;
        SimBackend: Send Sync Unpin;
        SimHandle<()>: Send Sync Unpin;
        SimHandle<Local>: Sync Unpin;
        SimHandle<Moves>: Send Sync Unpin;
        SimHandle<Pinned>: Send Sync Unpin;
        SimSleep: Send Sync Unpin;
        SimExecutor: Send Sync Unpin;
        Everywhere<Sim>: Send Sync Unpin;
        StopEverywhere: Send Sync Unpin;
        tokio::StopEverywhere: Send Sync Unpin;
        Coverage: Send Sync Unpin;
        Fault: Send Sync Unpin;
        Injected: Send Sync Unpin;
        Injection: Send Sync Unpin;
        Point: Send Sync Unpin;
        Step: Send Sync Unpin;
        tokio::PausedTokio: Send Sync Unpin;
        tokio::Paused: Send Sync Unpin;
        tokio::PausedHandle<()>: Send Sync Unpin;
        tokio::PausedHandle<Local>: Unpin;
        tokio::PausedHandle<Moves>: Send Sync Unpin;
        tokio::PausedHandle<Pinned>: Send Sync Unpin;
        tokio::PausedExecutor: Send Sync Unpin;
    }
}

#[test]
fn conformance_kit() {
    use adjourn_conformance::*;
    exactly! {
        Subject: Send Sync Unpin;
        Scenario: Send Sync Unpin;
        CountingAllocator: Send Sync Unpin;
    }
}

/// What async functions return.
#[test]
fn unnamed_futures() {
    fn is_send<T: Send>(_: T) {}
    let scope: Option<adjourn::Scope> = None;
    is_send(scope.map(|scope| scope.run(async {})));
    is_send(adjourn::Runner::new().attach(async {}));
    is_send(adjourn::Runner::new().attach_graceful(async |_| {}));
    is_send(adjourn_sim::fault_point("here"));
    is_send(adjourn::supervise::Supervisor::permanent().run(async || {}));
    #[cfg(unix)]
    {
        use adjourn::process::Child;
        let child = || Child::new(std::process::Command::new("true"));
        is_send(child().run());
        is_send(child().run_to_end());
    }
}

#[cfg(unix)]
#[test]
fn child_processes() {
    use adjourn::process::*;
    exactly! {
        Child: Send Unpin;
    }
}

#[test]
fn supervised_tasks() {
    use adjourn::supervise::*;
    exactly! {
        Supervisor: Send Sync Unpin;
    }
}

/// A server has what its listener has.
#[test]
fn http() {
    use adjourn::hyper::*;
    use std::net::TcpStream;
    exactly! {
        Server<()>: Send Sync Unpin;
        Server<Local>: Unpin;
        Server<Moves>: Send Unpin;
        Server<Pinned>: Send Sync;
        Handshake<(), ()>: Send Sync Unpin;
        Handshake<Local, ()>: Unpin;
        Handshake<(), Moves>: Send Unpin;
        Handshake<Pinned, ()>: Send Sync;
        Shaking<(), ()>: Send Sync Unpin;
        Shaking<Local, ()>: Unpin;
        Shaking<Moves, ()>: Send Unpin;
        Shaking<Pinned, ()>: Send Sync Unpin;
        Shaking<(), Local>: Unpin;
        Shaking<(), Pinned>: Send Sync;
        InScope: Send Sync Unpin;
        Clock: Send Sync Unpin;
        Clock<Local>: Unpin;
        Clock<Pinned>: Send Sync;
        Stream<TcpStream>: Send Sync Unpin;
        Stream<Moves>: Send Unpin;
    }
    #[cfg(unix)]
    exactly! {
        Inherited: Send Sync Unpin;
        Handover: Send Sync Unpin;
        Successor: Send Sync Unpin;
    }
}

#[test]
fn what_stands_around_a_process() {
    use adjourn::health::Health;
    use adjourn::systemd::{Manager, Systemd};
    use adjourn::triggers::{File, Look, Port, Stdin, Triggers};
    exactly! {
        Health: Send Sync Unpin;
        Systemd: Send Sync Unpin;
        Manager: Send Sync Unpin;
        Triggers: Send Unpin;
        File: Send Sync Unpin;
        Look: Send Sync Unpin;
        Port: Send Sync Unpin;
        Stdin: Send Sync Unpin;
    }
    #[cfg(unix)]
    exactly! { adjourn::triggers::Socket: Send Sync Unpin; }
}
