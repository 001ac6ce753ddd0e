//! Futures that are not `Send`, on a local executor.

use std::cell::Cell;
use std::rc::Rc;

use adjourn_core::rt::SpawnLocal;
use adjourn_smol::SmolLocal;
use async_executor::LocalExecutor;

#[test]
fn a_handle_gives_the_output_and_detaches_when_dropped() {
    let executor = Rc::new(LocalExecutor::new());
    let local = SmolLocal::from(&executor);
    let count = Rc::new(Cell::new(0));
    let adds = |number: u32| {
        let count = count.clone();
        async move {
            async_io::Timer::after(std::time::Duration::ZERO).await;
            count.set(count.get() + number);
            number
        }
    };
    drop(local.spawn_local(adds(1)));
    let handle = local.spawn_local(adds(10));
    assert_eq!(count.get(), 0, "its owner does not run it yet");
    async_io::block_on(executor.run(async {
        assert_eq!(handle.await, Ok(10));
        while !executor.is_empty() {
            executor.tick().await;
        }
    }));
    assert_eq!(count.get(), 11);
}

#[test]
fn a_handle_outlives_the_executor() {
    let executor = Rc::new(LocalExecutor::new());
    let handle = SmolLocal::from(&executor).spawn_local(std::future::pending::<()>());
    drop(executor);
    assert_eq!(async_io::block_on(handle), Err(adjourn_core::ExecutorGone));
}
