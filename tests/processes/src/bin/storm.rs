//! `programs/storm.rs`, which is about signals: nothing where there are none.

#[cfg(unix)]
#[path = "../programs/storm.rs"]
mod program;

#[cfg(unix)]
fn main() {
    program::main();
}

#[cfg(not(unix))]
fn main() {
    eprintln!("there are no signals on this system");
}
