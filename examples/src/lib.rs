//! What the examples share: the choice of a backend, so that each is one program for all.

/// Runs an expression with `Runner` being that of the chosen backend.
///
/// The choice is the feature's: `--no-default-features --features smol`. Where more than one is
/// compiled in, as in the tests, `ADJOURN_BACKEND` says which.
#[macro_export]
macro_rules! on_backend {
    ($Runner:ident => $run:expr) => {
        match $crate::backend() {
            #[cfg(feature = "tokio")]
            "tokio" => {
                use ::adjourn::tokio::Runner as $Runner;
                $run
            }
            #[cfg(feature = "smol")]
            "smol" => {
                use adjourn::smol::Runner as $Runner;
                $run
            }
            #[cfg(feature = "async-std")]
            "async-std" => {
                use adjourn::async_std::Runner as $Runner;
                $run
            }
            other => {
                eprintln!("the backend {other:?} is not compiled in: add --features {other}");
                adjourn::Exit::code(2)
            }
        }
    };
}

/// Returns the name of the chosen backend.
pub fn backend() -> &'static str {
    let first = if cfg!(feature = "tokio") {
        "tokio"
    } else if cfg!(feature = "smol") {
        "smol"
    } else {
        "async-std"
    };
    match std::env::var("ADJOURN_BACKEND").as_deref() {
        Ok("tokio") => "tokio",
        Ok("smol") => "smol",
        Ok("async-std") => "async-std",
        _ => first,
    }
}

/// Sleeps on the timer of the backend that runs the current task.
pub fn sleep(span: std::time::Duration) -> impl Future<Output = ()> + Send + 'static {
    adjourn::Scope::current().sleep(span)
}
