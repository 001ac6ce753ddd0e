//! Random programs end as the model says, in every order and on every backend; and whatever is
//! stopped where, the invariants hold.

use std::time::Duration;

use adjourn_sim::{Runner, Sim, StopEverywhere};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::model::{Normal, predict};
use crate::program::{Joined, Ran, run};
use crate::spec::{Spec, specs};

pub fn cases(variable: &str, default: u32) -> Config {
    let asked = std::env::var(variable).ok().and_then(|cases| cases.parse().ok());
    let cases = asked.unwrap_or(default);
    // A failure is shrunk and printed; nothing is written beside the source.
    Config { cases, failure_persistence: None, max_shrink_iters: 2_000, ..Config::default() }
}

/// Panics of tasks are what is tested: they are not printed, thousands as they are.
pub fn quietly() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let print = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let said = info.payload().downcast_ref::<&str>().copied().unwrap_or_default();
            if !["task", "job", "bomb", "cleanup", "hook", "main"].contains(&said) {
                print(info);
            }
        }));
    });
}

fn on_sim(spec: &Spec, sim: &Sim) -> Ran {
    run(spec, Runner::new(), |runner, main| sim.run(runner, main))
}

/// With its scopes' handles kept: else empty ones end by themselves, sooner or later.
fn steady(spec: Spec) -> Spec {
    Spec { keeps_handles: true, ..spec }
}

fn compare(spec: &Spec, ran: &Ran) -> Result<(), TestCaseError> {
    let (normal, joined) = predict(spec);
    prop_assert!(ran.problems.is_empty(), "{:?}\n{}", ran.problems, ran.exit.report());
    prop_assert_eq!(&Normal::of(ran.exit.report()), &normal, "{}", ran.exit.report());
    prop_assert_eq!(&ran.joined, &joined, "{}", ran.exit.report());
    Ok(())
}

#[test]
fn simulated_programs_end_as_the_model_says_with_every_seed() {
    quietly();
    let mut runner = TestRunner::new(cases("ADJOURN_CASES", 300));
    let input = (specs(6, 4, true), any::<u64>());
    let property = |(spec, seed): (Spec, u64)| {
        let spec = steady(spec);
        for seed in [seed, seed.wrapping_add(1), seed.wrapping_add(2)] {
            compare(&spec, &on_sim(&spec, &Sim::new().seed(seed)))?;
        }
        compare(&spec, &on_sim(&spec, &Sim::new().fifo()))
    };
    runner.run(&input, property).unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn the_same_seed_gives_the_same_report_to_the_bit() {
    quietly();
    let mut runner = TestRunner::new(cases("ADJOURN_CASES", 300));
    let property = |(spec, seed): (Spec, u64)| {
        let seen = || {
            let sim = Sim::new().seed(seed);
            let ran = on_sim(&spec, &sim);
            (format!("{:?}", ran.exit.report()), sim.fingerprint(), sim.elapsed(), ran.events)
        };
        prop_assert_eq!(seen(), seen());
        Ok(())
    };
    runner.run(&(specs(6, 4, true), any::<u64>()), property).unwrap_or_else(|e| panic!("{e}"));
}

#[test]
fn the_invariants_hold_wherever_a_program_is_stopped() {
    quietly();
    let mut runner = TestRunner::new(cases("ADJOURN_STOPPED_CASES", 100));
    let property = |(spec, seed): (Spec, u64)| {
        StopEverywhere::new().seeds([seed]).pairs(60).check(|sim| {
            let ran = on_sim(&spec, &sim);
            assert!(ran.problems.is_empty(), "{:?}\n{spec:#?}", ran.problems);
            let report = ran.exit.report();
            for joined in ran.joined.iter().flatten().flatten() {
                assert!(*joined != Joined::Never, "a handle never resolves\n{spec:#?}");
            }
            // What can end in order does, wherever the stop comes.
            // A scope that is opened during the stop and whose handle is kept waits for tasks.
            if report.forced.is_none() && !spec.takes_time() && !spec.keeps_handles {
                assert!(report.stragglers.is_empty(), "stragglers\n{spec:#?}");
                let delay = sim.elapsed();
                assert!(delay < Duration::from_secs(1), "nothing waits, yet {delay:?} passed");
            }
        });
        Ok(())
    };
    runner.run(&(specs(4, 3, true), any::<u64>()), property).unwrap_or_else(|e| panic!("{e}"));
}

#[test]
fn every_backend_reports_the_same() {
    quietly();
    let mut runner = TestRunner::new(cases("ADJOURN_REAL_CASES", 24));
    let property = |spec: Spec| {
        let spec = steady(spec);
        // Those that need their limits get short ones; the others more than a loaded machine takes.
        let seconds = if spec.takes_time() { 4 } else { 60 };
        macro_rules! on {
            ($backend:ident $(, $method:ident($threads:expr))?) => {{
                let runner = adjourn::$backend::Runner::new()
                    .signals([])
                    .exit_when_stuck(false)
                    .timeout(Duration::from_secs(seconds))
                    $(.$method($threads))?;
                let ran = run(&spec, runner, |runner, main| runner.run(main));
                compare(&spec, &ran)?;
            }};
        }
        compare(&spec, &on_sim(&spec, &Sim::new()))?;
        on!(tokio, worker_threads(0));
        on!(tokio, worker_threads(1));
        on!(tokio, worker_threads(4));
        on!(smol, worker_threads(0));
        on!(smol, worker_threads(4));
        on!(async_std);
        Ok(())
    };
    // Few are slow, since those take real time.
    let input = prop_oneof![7 => specs(5, 4, false), 1 => specs(3, 3, true)];
    runner.run(&input, property).unwrap_or_else(|error| panic!("{error}"));
}
