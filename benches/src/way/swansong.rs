//! swansong: guards that are waited for, and futures that are interrupted.

use std::future::Future;

use super::{Boxed, Group, Size, TURNS, batches};
use crate::body::{asked, parked, until_parked, yield_now};
use crate::host::Host;

/// Tasks that are interrupted, with a guard each.
#[derive(Debug)]
pub struct Swansong<H>(pub H);

/// A task that can be cancelled and is waited for.
fn tracked<F: Future<Output = ()>>(
    swansong: &swansong::Swansong,
    work: F,
) -> impl Future<Output = ()> + use<F> {
    let guard = swansong.guard();
    let work = swansong.interrupt(work);
    async move {
        let _guard = guard;
        _ = work.await;
    }
}

impl<H: Host> Group for Swansong<H> {
    const NAME: &'static str = "swansong";

    async fn finish<F>(&self, size: Size, work: impl Fn() -> F + Send + Sync)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let swansong = swansong::Swansong::new();
        batches(|| self.0.spawn(tracked(&swansong, work())), size).await;
    }

    async fn cancel<'a>(&'a self, count: usize, meanwhile: Boxed<'a>) {
        let swansong = swansong::Swansong::new();
        let tasks: Vec<_> =
            (0..count).map(|_| self.0.spawn(tracked(&swansong, parked()))).collect();
        until_parked(count).await;
        meanwhile.await;
        asked();
        swansong.shut_down().await; // as a tracker's end, known from within the last poll of each
        drop(tasks);
    }

    fn watch(&self, size: Size) -> Option<Boxed<'_>> {
        Some(Box::pin(async move {
            let swansong = swansong::Swansong::new();
            let spawn = || {
                let (guard, swansong) = (swansong.guard(), swansong.clone());
                self.0.spawn(async move {
                    let _guard = guard;
                    let mut turns = 0;
                    while turns < TURNS && swansong.interrupt(yield_now()).await.is_some() {
                        turns += 1;
                    }
                })
            };
            batches(spawn, size).await;
        }))
    }
}
