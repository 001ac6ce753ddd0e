//! The target. `cargo +nightly fuzz run machine` has libFuzzer's loop around it, which is guided by
//! the code's coverage; without that, in `cargo run -p adjourn-fuzz`, it is the loop for stable Rust.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    adjourn_fuzz::fuzz_one(bytes);
});

#[cfg(not(fuzzing))]
fn main() -> std::process::ExitCode {
    adjourn_fuzz::stable::main()
}
