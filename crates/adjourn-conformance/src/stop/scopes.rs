//! Stopping trees of scopes: whom a stop reaches, in which order, and what a failure tells.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use adjourn_core::{FailureKind, Phase, Reason, ResultFutureExt, Scope, StopToken, scope};

use crate::case::Case;
use crate::program::{came_to_its_end, clean, exits, run};
use crate::setup::Setup;
use crate::tools::{Gate, Log, yields};

pub(crate) fn order_of_scopes(case: &Case) {
    let log = Log::default();
    let said = log.clone();
    let exit = run(case, Setup::new(), |stopper| async move {
        let db = scope("db");
        let cache = scope("cache").depends_on(&db);
        let http = scope("http").depends_on(&cache).depends_on(&db);
        for (scope, steps) in [(&db, 0), (&cache, 5), (&http, 20)] {
            let said = said.clone();
            drop(scope.spawn_graceful(move |stop| async move {
                let name = Scope::current().name().to_owned();
                stop.requested().await;
                said.say(format!("{name} told"));
                yields(steps).await;
                said.say(format!("{name} done"));
            }));
        }
        stopper.stop();
        pending::<()>().await;
    });
    clean(&exit);
    log.was(&["http told", "http done", "cache told", "cache done", "db told", "db done"]);
}

pub(crate) fn partial_stop_spares_siblings(case: &Case) {
    let log = Log::default();
    let said = log.clone();
    let exit = run(case, Setup::new(), |_| async move {
        let (left, right, go) = (scope("left"), scope("right"), Gate::new());
        let mut kept = Vec::new();
        for scope in [&left, &right] {
            let (dropped, opened, begun) = (said.on_drop(scope.name()), go.wait(), Gate::new());
            let begins = begun.clone();
            kept.push(scope.spawn(async move {
                let _dropped = dropped;
                begins.open();
                opened.await;
            }));
            begun.wait().await;
        }
        left.stop().await.expect("main is not inside that scope");
        said.say("left has ended");
        assert!(left.stop_token().is_requested() && !right.stop_token().is_requested());
        assert!(!StopToken::current().is_requested(), "the program goes on");
        assert_eq!(right.spawn(async { 1 }).await.expect("right goes on"), 1);
        go.open();
        let right = kept.pop().expect("there are two").await;
        assert!(right.is_ok(), "right's task ends by itself");
    });
    came_to_its_end(&exit);
    log.was(&["left", "left has ended", "right"]);
}

pub(crate) fn grandchildren_reached(case: &Case) {
    const DEEP: usize = 20;
    let told = Arc::new(AtomicUsize::new(0));
    let count = told.clone();
    let exit = run(case, Setup::new(), |_| async move {
        let top = scope("top");
        let mut below = top.clone();
        for _ in 0..DEEP {
            below = below.scope("below");
            let (told, begun) = (count.clone(), Gate::new());
            let begins = begun.clone();
            drop(below.spawn_graceful(move |stop| async move {
                begins.open();
                stop.requested().await;
                told.fetch_add(1, SeqCst);
            }));
            begun.wait().await;
        }
        top.stop().await.expect("main is not inside that scope");
        assert_eq!(count.load(SeqCst), DEEP, "told, when the stop was over");
        assert_eq!(below.phase(), Phase::Stopped);
    });
    came_to_its_end(&exit);
}

pub(crate) fn error_in_a_child_reaches_the_root_with_its_path(case: &Case) {
    let exit = run(case, Setup::new(), |_| async {
        let connection = scope("http").scope("connection");
        let error = || std::io::Error::other("the peer is gone");
        let work = async move { Err::<(), _>(error()) };
        drop(connection.task("reader").spawn(work.or_stop()));
        pending::<()>().await;
    });
    exits(&exit, 1);
    let report = exit.report();
    let [failure] = &*report.failures else { panic!("not one failure:\n{report}") };
    assert_eq!(failure.kind, FailureKind::TaskError);
    assert!(failure.fatal, "it stops the program: {failure}");
    assert!(failure.origin.contains("root/http/connection"), "its scope's path: {failure}");
    assert!(failure.origin.contains("reader"), "its name: {failure}");
    assert_eq!(failure.messages, ["the peer is gone"]);
    let reason = report.reason();
    let told = matches!(reason, Some(Reason::TaskFailed(why)) if why.contains("the peer is gone"));
    assert!(told, "the reason: {reason:?}");
}
