//! `programs/pairs.rs`, which starts programs as only Unix can: nothing elsewhere.

#[cfg(unix)]
#[path = "../programs/pairs.rs"]
mod program;

#[cfg(unix)]
fn main() -> std::process::ExitCode {
    program::main()
}

#[cfg(not(unix))]
fn main() {
    eprintln!("listeners are not handed over on this system");
}
