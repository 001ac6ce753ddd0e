//! Random programs end as the model says, in every order and on every backend; and whatever is
//! stopped where, the invariants hold.

use std::cell::RefCell;
use std::thread;
use std::time::Duration;

use adjourn_sim::{Runner, Sim, StopEverywhere};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::model::{Normal, predict};
use crate::program::{Joined, Ran, run};
use crate::spec::{Limits, Spec, specs};

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

/// How many scopes the largest simulated programs have.
const LARGEST: usize = 6;

/// Draws as many programs of each size, from one scope to `largest`. Small programs are cheap, so
/// there can be many of them, and they try most of what two or three parts can do to each other.
fn by_size<S: Strategy>(
    config: Config,
    largest: usize,
    draw: impl Fn(usize) -> S,
    property: impl Fn(S::Value) -> Result<(), TestCaseError>,
) {
    let cases = config.cases.div_ceil(largest as u32);
    for size in 1..=largest {
        let mut runner = TestRunner::new(Config { cases, ..config.clone() });
        runner.run(&draw(size), &property).unwrap_or_else(|error| panic!("{error}"));
    }
}

/// A program with so many scopes at most, and a seed. The larger it is, the more tasks a scope has.
fn sized(size: usize) -> impl Strategy<Value = (Spec, u64)> {
    (specs(size, 1 + size.div_ceil(2), true), any::<u64>())
}

fn on_sim(spec: &Spec, sim: &Sim) -> Ran {
    let Limits { drain, cancelling, closing } = spec.limits;
    let runner = Runner::new()
        .timeout(Duration::from_millis(drain + cancelling + closing))
        .drain_limit(Duration::from_millis(drain))
        .closing_reserve(Duration::from_millis(closing));
    run(spec, runner, |runner, main| sim.run(runner, main))
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
fn simulated_programs_end_as_the_model_says_in_any_order() {
    quietly();
    by_size(cases("ADJOURN_CASES", 4_000), LARGEST, sized, |(spec, seed)| {
        let spec = steady(spec);
        // One order for each program: another program shows more than another order does.
        let sim = if seed % 4 == 0 { Sim::new().fifo() } else { Sim::new().seed(seed) };
        compare(&spec, &on_sim(&spec, &sim))
    });
}

#[test]
fn the_same_seed_gives_the_same_report_to_the_bit() {
    quietly();
    by_size(cases("ADJOURN_CASES", 300), LARGEST, sized, |(spec, seed)| {
        let seen = || {
            let sim = Sim::new().seed(seed);
            let ran = on_sim(&spec, &sim);
            (format!("{:?}", ran.exit.report()), sim.fingerprint(), sim.elapsed(), ran.events)
        };
        prop_assert_eq!(seen(), seen());
        Ok(())
    });
}

#[test]
fn the_invariants_hold_wherever_a_program_is_stopped() {
    quietly();
    by_size(cases("ADJOURN_STOPPED_CASES", 100), 4, sized, |(spec, seed)| {
        // What holds in forced runs too, in which assertions do not count.
        let wrong = RefCell::new(Vec::new());
        let mut check = StopEverywhere::new().seeds([seed]).pairs(60).main_may_fail();
        if seed % 3 == 0 {
            check = check.ends_within(Duration::from_millis(40));
        }
        check.check(|sim| {
            let ran = on_sim(&spec, &sim);
            let report = ran.exit.report();
            let never = ran.joined.iter().flatten().flatten().any(|how| *how == Joined::Never);
            if !ran.problems.is_empty() || never {
                let found = format!("{:?}; a handle never resolves: {never}", ran.problems);
                wrong.borrow_mut().push(format!("{found}, {:?}", sim.injected()));
            }
            // What can end in order does, wherever the stop comes.
            // A scope that is opened during the stop and whose handle is kept waits for tasks.
            if report.forced.is_none() && !spec.takes_time() && !spec.keeps_handles {
                assert!(report.stragglers.is_empty(), "stragglers\n{spec:#?}");
                let delay = sim.elapsed();
                assert!(delay < Duration::from_secs(1), "nothing waits, yet {delay:?} passed");
            }
        });
        prop_assert!(wrong.borrow().is_empty(), "{:#?}\n{:#?}", wrong.borrow(), spec);
        Ok(())
    });
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
                let spec = spec.clone();
                thread::spawn(move || {
                    let runner = adjourn::$backend::Runner::new()
                        .signals([])
                        .exit_when_stuck(false)
                        .timeout(Duration::from_secs(seconds))
                        $(.$method($threads))?;
                    run(&spec, runner, |runner, main| runner.run(main))
                })
            }};
        }
        compare(&spec, &on_sim(&spec, &Sim::new()))?;
        // All at once: what takes time waits for its limits, nearly all of it.
        let all = [
            on!(tokio, worker_threads(0)),
            on!(tokio, worker_threads(1)),
            on!(tokio, worker_threads(4)),
            on!(smol, worker_threads(0)),
            on!(smol, worker_threads(4)),
            on!(async_std),
        ];
        for ran in all.map(thread::JoinHandle::join) {
            compare(&spec, &ran.expect("a program's panics are its own"))?;
        }
        Ok(())
    };
    // Few are slow, since those take real time.
    let input = prop_oneof![7 => specs(5, 4, false), 1 => specs(3, 3, true)];
    runner.run(&input, property).unwrap_or_else(|error| panic!("{error}"));
}
