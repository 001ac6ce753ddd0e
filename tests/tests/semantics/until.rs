//! Streams and iterators that end at the stop.

use std::future::{pending, poll_fn, ready};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::sync::mpsc;
use std::task::Poll;
use std::time::Duration;

use adjourn::{
    FutureExt, IteratorUntilStop, StreamUntilStop, Timer, scope, spawn, spawn_blocking,
    spawn_graceful,
};
use futures_util::stream::{self, FuturesUnordered, Stream, StreamExt};

use crate::harness::*;

scenarios![
    what_has_come_goes_before_the_stop,
    what_comes_soon_after_the_stop_is_taken,
    what_comes_at_the_last_moment_is_taken,
    the_time_after_the_stop_ends,
    who_gets_its_value_at_once_has_asked,
    who_reads_a_stream_finishes_what_is_in_hand_and_takes_no_more,
    a_stream_is_not_polled_after_the_stop,
    a_stream_ends_by_itself,
    a_stream_is_dropped_at_the_stop_unless_it_was_lent,
    streams_work_behind_wakers_of_combinators,
    a_stream_ends_with_the_scope_that_it_was_given,
    a_loop_in_a_job_ends_at_the_stop,
    a_loop_in_a_plain_task_ends_at_the_stop_and_the_task_goes_on,
    an_iterator_ends_with_the_scope_that_it_was_given,
];

fn who_reads_a_stream_finishes_what_is_in_hand_and_takes_no_more(config: Config) {
    let log = Log::default();
    let program = Program::new(config);
    let (stopper, said) = (program.stopper(), log.clone());
    let exit = program.run(async move {
        let (jobs, queue) = async_channel::unbounded();
        for job in 0..5 {
            jobs.try_send(job).unwrap();
        }
        // Plain, but it asks.
        let worker = spawn(async move {
            let mut queue = Box::pin(queue.until_stop());
            while let Some(job) = queue.next().await {
                if job == 1 {
                    stopper.stop();
                    until_told().await;
                }
                said.say(format!("{job}"));
            }
            yields(3).await;
            said.say("over");
        });
        let _jobs = jobs; // the stream does not end by itself
        _ = worker.interruptible().await;
    });
    clean(&exit);
    log.is(&["0", "1", "over"]);
}

fn what_has_come_goes_before_the_stop(config: Config) {
    let log = Log::default();
    let program = Program::new(config);
    let (stopper, said) = (program.stopper(), log.clone());
    let exit = program.run(async move {
        let (jobs, queue) = async_channel::unbounded();
        for job in 0..4 {
            jobs.try_send(job).unwrap();
        }
        let worker = spawn(async move {
            while let Ok(Ok(job)) = queue.recv().until_stop_and(Duration::ZERO).await {
                if job == 1 {
                    stopper.stop();
                    until_told().await;
                }
                said.say(format!("{job}"));
            }
            said.say("over");
        });
        let _jobs = jobs; // the queue does not end by itself
        _ = worker.interruptible().await;
    });
    clean(&exit);
    log.is(&["0", "1", "2", "3", "over"]);
}

fn what_comes_soon_after_the_stop_is_taken(config: Config) {
    let log = Log::default();
    let program = Program::new(config);
    let (stopper, said) = (program.stopper(), log.clone());
    let exit = program.run(async move {
        let (jobs, queue) = async_channel::unbounded();
        let begun = Gate::new();
        let begins = begun.clone();
        spawn(async move {
            let stop = adjourn::StopToken::current();
            begins.open();
            let job = queue.recv().until_stop_and(Duration::from_secs(3600)).await;
            said.say(format!("{job:?} after the stop: {}", stop.is_requested()));
        });
        spawn_graceful(move |stop| async move {
            begun.wait().await;
            stopper.stop();
            stop.requested().await;
            yields(5).await;
            jobs.try_send(1).unwrap();
        });
        pending::<()>().await;
    });
    clean(&exit);
    log.is(&["Ok(Ok(1)) after the stop: true"]);
}

fn what_comes_at_the_last_moment_is_taken(config: Config) {
    let log = Log::default();
    let program = Program::new(config);
    let (stopper, said) = (program.stopper(), log.clone());
    let exit = program.run(async move {
        spawn_graceful(move |_| async move {
            stopper.stop();
            until_told().await;
            // Ready when it is polled again, which only the end of the time does.
            let mut polls = 0;
            let again = poll_fn(|_| {
                polls += 1;
                if polls == 1 { Poll::Pending } else { Poll::Ready(polls) }
            });
            let taken = again.until_stop_and(millis(5)).await;
            said.say(format!("{taken:?}"));
        });
        pending::<()>().await;
    });
    clean(&exit);
    log.is(&["Ok(2)"]);
}

fn the_time_after_the_stop_ends(config: Config) {
    let log = Log::default();
    let program = Program::new(config);
    let (stopper, said) = (program.stopper(), log.clone());
    let exit = program.run(async move {
        let clock = adjourn::Scope::current().backend().clone();
        spawn(async move {
            let mut waits = Box::pin(pending::<()>().until_stop_and(millis(20)));
            assert!(poll_once(&mut waits).await.is_pending());
            let told = clock.now();
            stopper.stop();
            assert!(waits.as_mut().await.is_err());
            assert!(clock.now() - told >= millis(20), "a sleep is never early");
            assert!(poll_once(&mut waits).await.is_pending(), "its value is taken");
            said.say("over");
        });
        pending::<()>().await;
    });
    clean(&exit);
    log.is(&["over"]);
}

fn who_gets_its_value_at_once_has_asked(config: Config) {
    let log = Log::default();
    let program = Program::new(config);
    let (stopper, said) = (program.stopper(), log.clone());
    let exit = program.run(async move {
        spawn(async move {
            assert!(ready(()).until_stop_and(Duration::ZERO).await.is_ok());
            stopper.stop();
            until_told().await;
            said.say("told, and not cancelled");
        });
        pending::<()>().await;
    });
    clean(&exit);
    log.is(&["told, and not cancelled"]);
}

/// Waits until the current scope has been told, without asking.
async fn until_told() {
    let token = adjourn::StopToken::current();
    while !token.peek() {
        yields(1).await;
    }
    yields(3).await;
}

fn a_stream_is_not_polled_after_the_stop(config: Config) {
    let program = Program::new(config);
    let stopper = program.stopper();
    let exit = program.run(async move {
        spawn_graceful(move |stop| async move {
            stopper.stop();
            stop.requested().await;
            let never = stream::poll_fn(|_| panic!("polled after the stop"));
            let mut never = never.until_stop();
            for _ in 0..2 {
                assert_eq!(never.next().await, None::<()>);
            }
        });
        pending::<()>().await;
    });
    clean(&exit);
}

fn a_stream_ends_by_itself(config: Config) {
    let exit = Program::new(config).run(async {
        let mut three = stream::iter(0..3).until_stop();
        assert_eq!(three.size_hint(), (0, Some(3)));
        assert_eq!(three.by_ref().collect::<Vec<_>>().await, [0, 1, 2]);
        assert_eq!(three.next().await, None);
        // One that starts again is ended all the same.
        let mut polls = 0;
        let mut again = stream::poll_fn(move |_| {
            polls += 1;
            Poll::Ready((polls != 2).then_some(polls))
        })
        .until_stop();
        assert_eq!(again.next().await, Some(1));
        assert_eq!(again.next().await, None);
        assert_eq!(again.next().await, None);
    });
    clean(&exit);
}

fn a_stream_is_dropped_at_the_stop_unless_it_was_lent(config: Config) {
    let program = Program::new(config);
    let stopper = program.stopper();
    let exit = program.run(async move {
        spawn_graceful(move |stop| async move {
            let (sends, mut lent) = futures_channel();
            let (other, given) = futures_channel();
            sends.try_send(1).unwrap();
            let mut given = given.until_stop();
            assert!(poll_once(&mut given.next()).await.is_pending());
            stopper.stop();
            stop.requested().await;
            assert_eq!(lent.by_ref().until_stop().next().await, None);
            assert_eq!(lent.next().await, Some(1), "it is the caller's");
            assert!(!other.is_closed());
            assert_eq!(given.next().await, None);
            assert!(other.is_closed(), "nobody reads any more");
        });
        pending::<()>().await;
    });
    clean(&exit);
}

type Numbers = std::pin::Pin<Box<async_channel::Receiver<u32>>>;

fn futures_channel() -> (async_channel::Sender<u32>, Numbers) {
    let (sends, receives) = async_channel::unbounded();
    (sends, Box::pin(receives))
}

fn streams_work_behind_wakers_of_combinators(config: Config) {
    let program = Program::new(config);
    let stopper = program.stopper();
    let exit = program.run(async move {
        let begun = Gate::new();
        let begins = begun.clone();
        let reads = spawn_graceful(move |_| async move {
            let mut ends: FuturesUnordered<_> =
                (0..10).map(|_| stream::pending::<()>().until_stop().into_future()).collect();
            assert!(poll_once(&mut ends.next()).await.is_pending());
            begins.open();
            ends.by_ref().filter(|(next, _)| ready(next.is_none())).count().await
        });
        begun.wait().await;
        stopper.stop();
        assert_eq!(reads.await.unwrap(), 10);
    });
    clean(&exit);
    assert!(exit.report().total().finished >= 1);
}

fn a_stream_ends_with_the_scope_that_it_was_given(config: Config) {
    let exit = Program::new(config).run(async {
        let (here, there) = (scope("here"), scope("there"));
        let begun = Gate::new();
        let (begins, given) = (begun.clone(), there.clone());
        let handle = here.spawn(async move {
            let reads = async { stream::pending::<()>().until_stop().next().await };
            let mut reads = Box::pin(reads.in_scope(&given));
            assert!(poll_once(&mut reads).await.is_pending());
            begins.open();
            reads.await
        });
        begun.wait().await;
        drop(there.stop());
        assert_eq!(handle.await.unwrap(), None);
        assert!(!here.stop_token().is_requested());
    });
    clean(&exit);
}

fn a_loop_in_a_job_ends_at_the_stop(config: Config) {
    let rounds = Arc::new(AtomicU32::new(0));
    let program = Program::new(config);
    let (stopper, counts) = (program.stopper(), rounds.clone());
    let exit = program.run(async move {
        // `told` is gone with `main`, which is cancelled once the job has been told.
        let (told, tells) = mpsc::channel::<()>();
        spawn_blocking(move || {
            for round in (0..100).until_stop() {
                assert_eq!(round, counts.fetch_add(1, SeqCst), "each one, in order");
                if round == 2 {
                    stopper.stop();
                    _ = tells.recv();
                }
            }
        });
        pending::<()>().await;
        drop(told);
    });
    clean(&exit);
    assert_eq!(rounds.load(SeqCst), 3, "the round that has begun is finished and none begins");
}

fn a_loop_in_a_plain_task_ends_at_the_stop_and_the_task_goes_on(config: Config) {
    let log = Log::default();
    let program = Program::new(config);
    let (stopper, said) = (program.stopper(), log.clone());
    let exit = program.run(async move {
        let worker = spawn(async move {
            for round in (0..100).until_stop() {
                if round == 1 {
                    stopper.stop();
                    until_told().await;
                }
                said.say(format!("{round}"));
            }
            yields(3).await;
            said.say("over");
        });
        _ = worker.interruptible().await;
    });
    clean(&exit);
    log.is(&["0", "1", "over"]);
}

fn an_iterator_ends_with_the_scope_that_it_was_given(config: Config) {
    let exit = Program::new(config).run(async {
        let there = scope("there");
        let mut rounds = (0..5).until_stop();
        assert_eq!(rounds.size_hint(), (0, Some(5)));
        assert_eq!(rounds.next(), Some(0));
        async { assert_eq!(rounds.next(), Some(1)) }.in_scope(&there).await;
        there.stop().await.unwrap();
        assert_eq!(rounds.next(), Some(2), "this scope goes on");
        async { assert_eq!(rounds.next(), None) }.in_scope(&there).await;
        assert_eq!(rounds.next(), None, "what has ended stays so");
        assert_eq!(rounds.size_hint(), (0, Some(0)));
    });
    clean(&exit);
}

#[test]
fn outside_of_a_program_nothing_ends_them() {
    assert_eq!((0..3).until_stop().collect::<Vec<_>>(), [0, 1, 2]);
    let three = stream::iter(0..3).until_stop().collect::<Vec<_>>();
    assert_eq!(futures_lite::future::block_on(three), [0, 1, 2]);
}
