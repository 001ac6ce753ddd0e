//! `programs/served.rs`, which is about what only Unix has: nothing elsewhere.

#[cfg(unix)]
#[path = "../programs/served.rs"]
mod program;

#[cfg(unix)]
fn main() -> adjourn::Exit {
    program::main()
}

#[cfg(not(unix))]
fn main() {
    eprintln!("listeners are not handed over on this system");
}
