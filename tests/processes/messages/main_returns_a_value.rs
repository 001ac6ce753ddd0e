//~ `main` may not return `{integer}`
//~ returns `()`, `!`, `Exit`, or a `Result<(), E>` or `Result<Exit, E>`
//~ for any other value use `Runner::run_value`
fn main() -> adjourn::Exit {
    adjourn::run(async { 5 })
}
