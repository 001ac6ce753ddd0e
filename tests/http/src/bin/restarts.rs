//! `programs/restarts.rs`, which is about what only Unix has: nothing elsewhere.

#[cfg(unix)]
#[path = "../programs/restarts.rs"]
mod program;

#[cfg(unix)]
fn main() -> std::process::ExitCode {
    program::main()
}

#[cfg(not(unix))]
fn main() {
    eprintln!("listeners are not handed over on this system");
}
