//! Programs as scenarios write them: a main, and the checks that hold of every report.

use std::future::Future;

use adjourn_core::{
    Exit, Failure, FailureKind, Outcome, Report, Runner, Stopper, Straggler, Totals,
};

use crate::bare::Way;
use crate::case::Case;
use crate::limits::{moved, patience};
use crate::setup::Setup;
use crate::subject::Main;

/// Runs a program whose main returns nothing.
pub(crate) fn run<'a, F>(case: &Case, setup: Setup, main: impl FnOnce(Stopper) -> F + 'a) -> Exit
where
    F: Future<Output = ()> + 'a,
{
    let main: Main<'a> = Box::new(|stopper| {
        let main = main(stopper);
        Box::pin(async move {
            main.await;
            Ok(Exit::code(0))
        })
    });
    let exit = case.subject().run(setup, main);
    moved();
    exit
}

/// Runs a program once with the free functions, which erase the backend, and once attached with a
/// typed backend. Nothing may fail in it.
pub(crate) fn each_way<F>(case: &Case, main: impl Fn(Way, Stopper) -> F)
where
    F: Future<Output = ()>,
{
    run_each_way(case, main).iter().for_each(came_to_its_end);
}

/// As [`each_way`], where failures of tasks are what is tested; the exit code has to be 0.
pub(crate) fn each_way_with_failures<F>(case: &Case, main: impl Fn(Way, Stopper) -> F)
where
    F: Future<Output = ()>,
{
    for exit in run_each_way(case, main) {
        succeeded(&exit);
        main_finished(&exit);
    }
}

fn run_each_way<F>(case: &Case, main: impl Fn(Way, Stopper) -> F) -> [Exit; 2]
where
    F: Future<Output = ()>,
{
    let erased = run(case, Setup::new(), |stopper| main(Way::Erased, stopper));
    main_is_content(&erased, "with the free functions");
    let started = case.subject().start();
    let bare = started.bare();
    let runner = Setup::new().apply(Runner::<()>::new());
    let main = main(Way::Typed(bare.clone()), runner.stopper());
    let mut typed = None;
    started.block_on(Box::pin(async {
        typed = Some(runner.attach_to(&bare.erase(), main).await);
    }));
    moved();
    let typed = typed.expect("block_on runs a future to its end");
    main_is_content(&typed, "on a scope with the typed backend");
    _ = started.end(patience());
    [erased, typed]
}

/// Checks that nothing at all went wrong and that main, with its checks, came to its end.
#[track_caller]
pub(crate) fn came_to_its_end(exit: &Exit) {
    clean(exit);
    main_finished(exit);
}

/// A main that is cancelled half-way has not checked the rest.
#[track_caller]
fn main_finished(exit: &Exit) {
    assert_eq!(exit.report().main, Some(Outcome::Finished), "how main ended:\n{}", exit.report());
}

/// Passes on what main found wrong: the checks in it are the scenario's own.
#[track_caller]
fn main_is_content(exit: &Exit, how: &str) {
    let panic = |failure: &&Failure| failure.kind == FailureKind::MainPanic;
    if let Some(failure) = exit.report().failures.iter().find(panic) {
        panic!("{} ({how})\n{}", failure.messages.join(": "), exit.report());
    }
}

/// Checks what holds of every report.
#[track_caller]
pub(crate) fn check(exit: &Exit) {
    let report = exit.report();
    for (name, totals) in &report.totals {
        let Totals { spawned, live, finished, failed, panicked, cancelled, abandoned, .. } =
            *totals;
        assert_eq!(live, 0, "tasks of {name} are counted as alive after the end:\n{report}");
        let sum = finished + failed + panicked + cancelled + abandoned;
        assert_eq!(spawned, sum, "each task of {name} ends in one way:\n{report}");
    }
    for pair in report.phases.windows(2) {
        assert!(pair[0].phase < pair[1].phase, "phases only advance:\n{report}");
    }
}

/// Checks that a program ended with this exit code.
#[track_caller]
pub(crate) fn exits(exit: &Exit, code: u8) {
    if code != 101 {
        main_is_content(exit, "in main");
    }
    check(exit);
    assert_eq!(exit.exit_code(), code, "the exit code:\n{}", exit.report());
}

/// Returns the straggler of this name.
#[track_caller]
pub(crate) fn straggler<'a>(report: &'a Report, name: &str) -> &'a Straggler {
    let mut stragglers = report.stragglers.iter();
    let found = stragglers.find(|straggler| straggler.task.name.as_deref() == Some(name));
    found.unwrap_or_else(|| panic!("{name:?} is not among the stragglers:\n{report}"))
}

/// Checks that a program ended with exit code 0, whatever tasks failed in isolation.
#[track_caller]
pub(crate) fn succeeded(exit: &Exit) {
    exits(exit, 0);
}

/// Checks that nothing at all went wrong.
#[track_caller]
pub(crate) fn clean(exit: &Exit) {
    succeeded(exit);
    assert!(exit.report().is_clean(), "nothing failed here:\n{}", exit.report());
}
