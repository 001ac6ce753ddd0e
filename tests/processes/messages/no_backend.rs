//~ cannot find function `run` in crate `adjourn`
//~ the item is gated behind the `tokio` feature
fn main() -> adjourn::Exit {
    adjourn::run(async {})
}
