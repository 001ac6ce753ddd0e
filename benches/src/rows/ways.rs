//! The ways that a row measures on one configuration, inside a task of its executor.

use adjourn::Scope;

use super::turns::Ways;
use crate::host::{Host, OnSmol, OnTokio};
use crate::way::{
    AsyncShutdown, Bare, Dropped, Elegant, Free, Graceful, InJoinSet, Ours, Subsystems, Swansong,
    Tracker, Way,
};

/// Runs `$body`, a future, in a task of a configuration's executor, as most of a program runs; with
/// the executor and the ways that there are on it.
macro_rules! with_ways {
    ($config:expr, |$host:ident, $ways:ident| $body:expr) => {{
        use adjourn::{async_std, tokio};

        use crate::host::{self, Config, OnAsyncStd, OnSmol, OnTokio};
        use crate::rows::ways::{general_ways, inside, smol_ways, tokio_ways};
        match $config {
            Config::TokioCurrentThread => {
                host::run(tokio::Runner::new().current_thread(), async |scope| {
                    let $host = OnTokio::current();
                    let $ways = tokio_ways(&$host, &scope);
                    inside(&scope, $body).await
                })
            }
            Config::TokioMultiThread => {
                let threads = std::thread::available_parallelism().map_or(2, usize::from);
                host::run(tokio::Runner::new().worker_threads(threads), async |scope| {
                    let $host = OnTokio::current();
                    let $ways = tokio_ways(&$host, &scope);
                    inside(&scope, $body).await
                })
            }
            Config::Smol => OnSmol::run(async |$host, scope| {
                let $ways = smol_ways(&$host, &scope);
                inside(&scope, $body).await
            }),
            Config::AsyncStd => host::run(async_std::Runner::new(), async |scope| {
                let $host = OnAsyncStd;
                let $ways = general_ways(&$host, &scope);
                inside(&scope, $body).await
            }),
        }
    }};
}
pub(super) use with_ways;

/// Returns the way of this name.
///
/// # Panics
///
/// When there is none.
pub fn named<'a>(ways: &'a Ways, name: &str) -> &'a dyn Way {
    &**ways.iter().find(|way| way.name() == name).expect("the name of a way")
}

/// The ways that there are on Tokio.
pub fn tokio_ways(host: &OnTokio, scope: &Scope) -> Ways {
    let mut ways = general_ways(host, scope);
    ways.push(Box::new(InJoinSet));
    ways.push(Box::new(Tracker::<false>::default()));
    ways.push(Box::new(Tracker::<true>::default()));
    ways.push(Box::new(Graceful));
    ways.push(Box::new(Subsystems));
    ways
}

/// The ways that there are on smol.
pub fn smol_ways(host: &OnSmol, scope: &Scope) -> Ways {
    let mut ways = general_ways(host, scope);
    ways.push(Box::new(Dropped(host.clone())));
    ways
}

/// The ways that there are on every executor; what users write leads ours.
pub fn general_ways<H: Host>(host: &H, scope: &Scope) -> Ways {
    vec![
        Box::new(Bare(host.clone())),
        Box::new(Free),
        Box::new(Ours::typed(scope, host.backend())),
        Box::new(Ours::erased(scope)),
        Box::new(AsyncShutdown(host.clone())),
        Box::new(Elegant(host.clone())),
        Box::new(Swansong(host.clone())),
    ]
}

/// Returns what `measure` returns when it is a task of the program, of which the free functions spawn too.
pub async fn inside<R: Send + 'static>(
    scope: &Scope,
    measure: impl Future<Output = R> + Send + 'static,
) -> R {
    scope.spawn(measure).await.expect("it was measured")
}
