//~ this is no hook
//~ a hook is a future, a closure or an async closure, and returns `()` or a `Result<(), E>`
fn main() -> adjourn::Exit {
    adjourn::run(async {
        adjourn::scope("db").on_stopped(async { 5 });
    })
}
