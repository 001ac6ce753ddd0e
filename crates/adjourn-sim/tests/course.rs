//! The course of a stop as the report has it, exact to the instant: the clock is a virtual one.

use std::time::Duration;

use adjourn_core::{
    Exit, FutureExt, HookReport, Outcome, Scope, ScopeReport, TaskReport, scope, spawn_graceful,
    task,
};
use adjourn_sim::{Runner, Sim};
use futures_lite::future::pending;

const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn sleep(span: Duration) -> impl Future<Output = ()> + Send {
    Scope::current().sleep(span)
}

/// The times of a report count from the stop here, which is two seconds after the start.
fn since(at: Option<Duration>) -> Option<u64> {
    at.map(|at| (at - secs(2)).as_secs())
}

fn task_named<'a>(exit: &'a Exit, name: &str) -> &'a TaskReport {
    let mut tasks = exit.report().tasks.iter();
    tasks.find(|task| task.task.name.as_deref() == Some(name)).expect("it was alive at the stop")
}

/// `http` has four seconds of graceful work, `db` a task with a cleanup of three.
fn two_levels() -> Exit {
    Sim::new().run(Runner::new().timeout(secs(50)), async {
        let db = scope("db");
        db.task("writer").spawn(pending::<()>().on_cancel(async { sleep(secs(3)).await }));
        db.on_stopped(|| async {
            sleep(secs(1)).await;
            Err::<(), _>("no disk")
        });
        let http = scope("http").depends_on(&db);
        http.task("request").spawn_graceful(|stop| async move {
            stop.requested().await;
            sleep(secs(4)).await;
        });
        sleep(secs(2)).await;
        _ = Scope::current().stop();
        pending::<()>().await;
    })
}

#[test]
fn scopes_have_their_times_and_own_limits() {
    let exit = two_levels();
    let scopes: Vec<_> = exit.report().scopes.iter().collect();
    let paths: Vec<_> = scopes.iter().map(|scope| &*scope.scope).collect();
    assert_eq!(paths, ["root/http", "root/db", "root"], "in the order of their ends");
    let times = |scope: &ScopeReport| [scope.told, scope.cancelled, scope.ended].map(since);
    assert_eq!(times(scopes[0]), [Some(0), Some(4), Some(4)]);
    assert_eq!(times(scopes[1]), [Some(4), Some(4), Some(8)]);
    assert_eq!(times(scopes[2]), [Some(0), Some(8), Some(8)]);
    // 48 s until the cut-off. A third of it for `http`, and of the rest a half for `db`.
    assert_eq!(since(scopes[0].limit), Some(16));
    assert_eq!(since(scopes[1].limit), Some(4 + 22));
    assert_eq!(since(scopes[2].limit), Some(48));
    assert_eq!(since(scopes[0].drain_limit), Some(13), "40 s of 48, and a third of that");
    assert_eq!(exit.report().scopes_omitted, 0);
}

#[test]
fn a_task_has_the_moment_of_its_cancelling_beside_the_end_of_its_cleanup() {
    let exit = two_levels();
    let writer = task_named(&exit, "writer");
    assert_eq!((since(writer.cancelled), since(Some(writer.ended))), (Some(4), Some(7)));
    let request = task_named(&exit, "request");
    assert_eq!((since(request.cancelled), since(Some(request.ended))), (None, Some(4)));
}

#[test]
fn hooks_have_their_times_and_how_they_ended() {
    let exit = two_levels();
    let [hook] = &exit.report().hooks[..] else { panic!("{:?}", exit.report().hooks) };
    assert_eq!((hook.hook, &*hook.scope), ("on_stopped", "root/db"));
    assert_eq!((since(Some(hook.began)), since(hook.ended)), (Some(7), Some(8)));
    assert_eq!(hook.outcome, Outcome::Failed);
    assert!(hook.registered_at.contains("tests/course.rs:"), "{hook:?}");
}

#[test]
fn a_hook_that_is_cut_off_has_no_end() {
    let runner = Runner::new().timeout(secs(10)).on_stopped(pending::<()>());
    let exit = Sim::new().run(runner.on_stop(async || sleep(secs(1)).await), async {
        _ = Scope::current().stop();
        pending::<()>().await;
    });
    assert_eq!(exit.exit_code(), 124, "{}", exit.report());
    let times = |hook: &HookReport| (hook.hook, hook.began, hook.ended, hook.outcome.clone());
    let hooks: Vec<_> = exit.report().hooks.iter().map(times).collect();
    let [first, last] = &hooks[..] else { panic!("{hooks:?}") };
    assert_eq!(*first, ("on_stop", secs(0), Some(secs(1)), Outcome::Finished));
    assert_eq!(*last, ("on_stopped", secs(1), None, Outcome::Abandoned));
}

#[test]
fn of_many_tasks_the_slowest_is_listed() {
    let exit = Sim::new().run(Runner::new(), async {
        for number in 0..1_000_u32 {
            task(number.to_string()).spawn_graceful(move |stop| async move {
                stop.requested().await;
                sleep(if number == 523 { secs(3) } else { Duration::from_millis(1) }).await;
            });
        }
        sleep(secs(2)).await;
        _ = Scope::current().stop();
        spawn_graceful(|_| sleep(secs(5))); // it was not alive at the stop
        pending::<()>().await;
    });
    let slow = task_named(&exit, "523");
    assert_eq!(since(Some(slow.ended)), Some(3));
    assert_eq!((exit.report().tasks.len(), exit.report().alive_at_stop), (100, 1_001));
    let later = exit.report().tasks.iter().filter(|task| since(Some(task.ended)) > Some(3));
    assert_eq!(later.count(), 1, "main, which is cancelled last");
}

#[test]
fn the_timeline_shows_the_slowest_first() {
    let exit = two_levels();
    let text = exit.report().timeline().to_string();
    let (picture, legend) = text.rsplit_once("\n\n").expect("the legend is last");
    // Lines of the test's own file change.
    let cut = |line: &str| line.split(" at ").next().unwrap_or_default().to_owned();
    let lines: Vec<_> = picture.lines().map(cut).collect();
    assert_eq!(
        lines,
        [
            "Stopped in 8.000 s (a request), exit code 1",
            "",
            "0                   2 s                 4 s                 6 s",
            "|Draining-----------------------------------------------------------------------",
            "    8.000 s  on_stopped of root/db  (hook",
            "                                                                      ^^^^^^^^^!",
            "    8.000 s  root/main  (task",
            "-------------------------------------------------------------------------------x",
            "    8.000 s  root/db  (scope)",
            "                                        ~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~|",
            "    8.000 s  root  (scope)",
            ":::::::::::::::::::::::::::::::::::::::::::::::::::::::::::::::::::::::::::::::|",
            "    7.000 s  root/db/writer  (task",
            "----------------------------------------~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~x",
            "    4.000 s  root/http  (scope)",
            "::::::::::::::::::::::::::::::::::::::::|",
            "    4.000 s  root/http/request  (graceful task",
            "========================================|",
        ],
        "{text}"
    );
    assert!(text.contains("/tests/course.rs:"), "{text}");
    assert!(legend.contains("not over"), "{text}");
}
