//> not started: `run` was called inside a Tokio runtime, which cannot be blocked
//> write `Runner::new().attach(main).await` there, or call `run` from a plain `fn main`
#[tokio::main]
async fn main() -> adjourn::Exit {
    adjourn::run(async {})
}
