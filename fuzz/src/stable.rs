//! The loop for stable Rust: `adjourn-fuzz [SECONDS] [SEED]`, by default 60 seconds from seed 0.
//!
//! Lives the corpus, then changes its inputs and keeps, for the run, those that show something new.
//! An input that breaks a promise is made as short as it can be, written to `fuzz/artifacts`, and
//! ends the run with the exit code 1. `adjourn-fuzz FILE` lives that one input, with its panic.

use std::panic::catch_unwind;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use fastrand::Rng;

use crate::{Seen, fuzz_one};

const LONGEST: usize = 600;

/// What `main` is without libFuzzer.
pub fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize, default| match args.get(at) {
        None => Some(default),
        Some(text) => text.parse::<u64>().ok(),
    };
    let (Some(seconds), Some(seed)) = (number(0, 60), number(1, 0)) else {
        let input = std::fs::read(&args[0]).expect("a file, or how many seconds and a seed");
        println!("it shows {} things", fuzz_one(&input).len());
        return ExitCode::SUCCESS;
    };
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files: Vec<_> = std::fs::read_dir(here.join("corpus/machine"))
        .expect("there is a corpus")
        .map(|file| file.expect("it is listed").path())
        .collect();
    files.sort();
    let mut pool: Vec<Vec<u8>> =
        files.iter().map(|file| std::fs::read(file).expect("it is a file")).collect();

    // What panics is told once, when it is as short as it can be.
    std::panic::set_hook(Box::new(|_| ()));
    let mut known = Seen::new();
    for input in pool.clone() {
        match live(&input) {
            Some(seen) => known.extend(seen),
            None => return broken(here, input),
        }
    }
    let (corpus, corpus_shows) = (pool.len(), known.len());
    let mut rng = Rng::with_seed(seed);
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut lives = 0_u64;
    while lives % 64 > 0 || Instant::now() < end {
        lives += 1;
        let input = changed(&pool, &mut rng);
        let Some(seen) = live(&input) else { return broken(here, input) };
        if !seen.is_subset(&known) {
            known.extend(seen);
            pool.push(input);
        }
    }
    let kept = pool.len() - corpus;
    println!(
        "{lives} lives in {seconds} s from seed {seed} over {corpus} inputs that show \
         {corpus_shows} things; {kept} new ones, which show {} more; no promise was broken",
        known.len() - corpus_shows
    );
    ExitCode::SUCCESS
}

fn live(input: &[u8]) -> Option<Seen> {
    catch_unwind(|| fuzz_one(input)).ok()
}

/// Some input of the pool, changed in a few places.
fn changed(pool: &[Vec<u8>], rng: &mut Rng) -> Vec<u8> {
    let mut input = rng.choice(pool).cloned().unwrap_or_default();
    for _ in 0..rng.usize(1..6) {
        let at = rng.usize(..=input.len());
        match rng.u8(..8) {
            0 | 1 if at < input.len() => input[at] = rng.u8(..),
            2 if at < input.len() => input[at] ^= 1 << rng.u8(..8),
            3 => input.insert(at, rng.u8(..)),
            4 => {
                let until = rng.usize(at..=input.len()).min(at + 12);
                input.drain(at..until);
            }
            5 => {
                let more: Vec<u8> = (0..rng.usize(1..24)).map(|_| rng.u8(..)).collect();
                input.splice(at..at, more);
            }
            _ => {
                // What another one ends with.
                let other = rng.choice(pool).map_or(&[][..], |other| other.as_slice());
                input.truncate(at);
                input.extend(&other[rng.usize(..=other.len())..]);
            }
        }
    }
    input.truncate(LONGEST);
    input
}

/// Shortens an input that breaks a promise, and writes it down.
fn broken(here: &Path, mut input: Vec<u8>) -> ExitCode {
    let mut size = input.len() / 2;
    while size > 0 {
        let mut at = 0;
        while at < input.len() {
            let mut shorter = input.clone();
            shorter.drain(at..(at + size).min(input.len()));
            match live(&shorter) {
                None => input = shorter,
                Some(_) => at += size,
            }
        }
        size /= 2;
    }
    let artifacts = here.join("artifacts");
    let name = input
        .iter()
        .fold(0_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3));
    let file = artifacts.join(format!("machine-{name:016x}"));
    std::fs::create_dir_all(&artifacts).expect("the directory can be made");
    std::fs::write(&file, &input).expect("the file can be written");
    drop(std::panic::take_hook());
    println!("a promise is broken; again: cargo run -p adjourn-fuzz -- {}", file.display());
    _ = catch_unwind(|| fuzz_one(&input));
    ExitCode::FAILURE
}
