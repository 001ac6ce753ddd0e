//~ unused `ScopeStop` that must be used
//~ the stop is requested already: await its end, or drop this on purpose
fn main() -> adjourn::Exit {
    adjourn::run(async {
        adjourn::scope("db").stop();
    })
}
