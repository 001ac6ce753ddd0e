//! `programs/guard.rs`, which is about signals: nothing where there are none.

#[cfg(unix)]
#[path = "../programs/guard.rs"]
mod program;

#[cfg(unix)]
fn main() -> adjourn::Exit {
    program::main()
}

#[cfg(not(unix))]
fn main() {
    eprintln!("there are no signals on this system");
}
