//~ `main` may not return `Result<(), MyError>`
//~ an error has to implement `std::error::Error`
struct MyError;

fn main() -> adjourn::Exit {
    adjourn::run(async { Err::<(), MyError>(MyError) })
}
