//! A backend with its type erased, at one allocation a spawn.

mod remote;

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::{Backend, Host, SpawnBlocking, Spawner, Timer};
use crate::contract::error::Unsupported;

pub use self::remote::{AnyHandle, Remote};
use self::remote::{Carried, Carrier, carry, pack};

/// Any backend, its type erased: what [`Scope`](crate::Scope) uses unless told otherwise.
///
/// A spawn costs one allocation more than on the typed backend, so that generics need not spread.
#[derive(Clone)]
pub struct AnyBackend {
    backend: Arc<dyn AnyOf>,
}

/// A sleep of an [`AnyBackend`].
///
/// One of no time yields once, on every backend.
#[must_use = "futures do nothing unless awaited"]
pub struct AnySleep {
    sleep: Pin<Box<dyn Future<Output = ()> + Send + Sync>>,
    yields: bool,
}

trait AnyOf: Send + Sync {
    fn name(&self) -> &'static str;
    fn backend(&self) -> &dyn Any;
    fn spawn(&self, carried: Carried) -> Carrier;
    fn now(&self) -> Instant;
    fn sleep(&self, span: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + Sync>>;
    fn host(&self) -> Option<Arc<dyn Host>>;
    fn can_block(&self) -> Result<(), Unsupported>;
    fn spawn_blocking(&self, job: Box<dyn FnOnce() + Send>);
}

struct Plain<B>(B, &'static str);
struct WithBlocking<B>(B, &'static str);

impl AnyBackend {
    /// Erases a backend that has no blocking pool.
    pub fn new<B: Spawner + Timer>(name: &'static str, backend: B) -> AnyBackend {
        AnyBackend { backend: Arc::new(Plain(backend, name)) }
    }

    /// Erases a backend that has a blocking pool.
    pub fn with_blocking<B: SpawnBlocking + Timer>(name: &'static str, backend: B) -> AnyBackend {
        AnyBackend { backend: Arc::new(WithBlocking(backend, name)) }
    }

    /// Returns the backend's name: `"tokio"`.
    pub fn name(&self) -> &'static str {
        self.backend.name()
    }

    /// Returns the backend by its own type, or as this one; `None` if it is of another.
    pub fn downcast_ref<B: Spawner>(&self) -> Option<&B> {
        self.backend.backend().downcast_ref().or_else(|| (self as &dyn Any).downcast_ref())
    }
}

impl Spawner for AnyBackend {
    type Handle<T: Send> = AnyHandle<T>;

    fn spawn<F>(&self, future: F) -> AnyHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        AnyHandle::boxed(self.backend.spawn(pack(future)))
    }
}

impl SpawnBlocking for AnyBackend {
    fn can_block(&self) -> Result<(), Unsupported> {
        self.backend.can_block()
    }

    /// Where there is no pool, `job` is dropped and the handle resolves to
    /// [`ExecutorGone`](crate::ExecutorGone);
    /// [`can_block`](SpawnBlocking::can_block) asks first.
    fn spawn_blocking<F, T>(&self, job: F) -> AnyHandle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let (job, handle) = Remote::job(job);
        self.backend.spawn_blocking(Box::new(job));
        handle
    }
}

impl Timer for AnyBackend {
    type Sleep = AnySleep;

    fn now(&self) -> Instant {
        self.backend.now()
    }

    fn sleep(&self, span: Duration) -> AnySleep {
        AnySleep { sleep: self.backend.sleep(span), yields: span.is_zero() }
    }

    fn host(&self) -> Option<Arc<dyn Host>> {
        self.backend.host()
    }
}

impl Backend for AnyBackend {
    fn erase(&self) -> AnyBackend {
        self.clone()
    }
}

impl fmt::Debug for AnyBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AnyBackend").field(&self.name()).finish()
    }
}

impl Future for AnySleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if mem::take(&mut self.yields) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.sleep.as_mut().poll(cx)
    }
}

impl fmt::Debug for AnySleep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnySleep").finish_non_exhaustive()
    }
}

macro_rules! erased_common {
    () => {
        fn name(&self) -> &'static str {
            self.1
        }

        fn backend(&self) -> &dyn Any {
            &self.0
        }

        fn spawn(&self, carried: Carried) -> Carrier {
            carry(&self.0, carried)
        }

        fn now(&self) -> Instant {
            self.0.now()
        }

        fn sleep(&self, span: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + Sync>> {
            Box::pin(self.0.sleep(span))
        }

        fn host(&self) -> Option<Arc<dyn Host>> {
            self.0.host()
        }
    };
}

impl<B: Spawner + Timer> AnyOf for Plain<B> {
    erased_common!();

    fn can_block(&self) -> Result<(), Unsupported> {
        Err(Unsupported::new(self.1, "blocking pool"))
    }

    fn spawn_blocking(&self, _: Box<dyn FnOnce() + Send>) {}
}

impl<B: SpawnBlocking + Timer> AnyOf for WithBlocking<B> {
    erased_common!();

    fn can_block(&self) -> Result<(), Unsupported> {
        self.0.can_block()
    }

    fn spawn_blocking(&self, job: Box<dyn FnOnce() + Send>) {
        drop(self.0.spawn_blocking(job));
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::tests::nowhere::{Nowhere, Poolless};

    #[test]
    fn a_backend_keeps_what_it_can_do() {
        let plain = AnyBackend::new("nowhere", Nowhere(drop));
        assert_eq!(plain.can_block(), Err(Unsupported::new("nowhere", "blocking pool")));
        let pooled = AnyBackend::with_blocking("poolless", Poolless);
        assert_eq!(pooled.can_block(), Ok(()));
        let again = AnyBackend::with_blocking("again", plain.clone());
        assert_eq!(again.can_block(), plain.can_block());
        assert_eq!(
            format!("{plain:?}, {pooled:?}"),
            "AnyBackend(\"nowhere\"), AnyBackend(\"poolless\")"
        );
    }
}
