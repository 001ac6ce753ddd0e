//! A storm of signals, as a seed decides it: what the process under test is, and what it is sent.
//!
//! The process and the test that sends both make the plan from the seed, so nothing but the seed has
//! to be passed on, and a run can be made again from it.

use fastrand::Rng;

/// Where a program runs: the configurations of the probe.
pub const BACKENDS: [&str; 7] =
    ["tokio-current", "tokio-1", "tokio-n", "smol-current", "smol-1", "smol-n", "async-std"];

/// Standard signals: of each kind one at most is pending; another one meanwhile is merged with it
/// (POSIX: "it is implementation-defined whether the signal is delivered more than once"; Linux
/// merges).
pub const STANDARD: [i32; 8] = [
    libc::SIGHUP,
    libc::SIGINT,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGTERM,
    libc::SIGURG,
    libc::SIGWINCH,
    libc::SIGIO,
];

/// Real-time signals: queued, each of them is delivered.
pub const QUEUED: [i32; 3] = [35, 48, 63];

/// What threads of the process raise themselves: one that nobody else sends, so that none is merged,
/// and those that queue.
pub const RAISED: [i32; 4] = [libc::SIGALRM, 35, 48, 63];

/// Sent last of a volley: Linux delivers what is pending in the order of the numbers, so once this
/// has come nothing that was sent before is pending any more.
pub const MARKER: i32 = 64;

/// Asks a program that reacts to signals to stop.
pub const END: i32 = libc::SIGQUIT;

/// What `tokio::signal` listens for beside the program.
pub const NEIGHBOUR: [i32; 1] = [libc::SIGUSR1];

/// Whatever is sent.
pub fn kinds() -> Vec<i32> {
    let mut kinds: Vec<i32> = STANDARD.iter().chain(&QUEUED).copied().collect();
    kinds.extend([RAISED[0], END, MARKER]);
    kinds.sort_unstable();
    kinds
}

/// One run.
#[derive(Debug)]
pub struct Plan {
    pub backend: &'static str,
    /// A handler that was there before ours counts what the kernel delivers.
    pub witness: bool,
    pub neighbour: Neighbour,
    /// `on_signal` decides, and stops at [`END`]; else the first signal stops the program.
    pub reacts: bool,
    /// A second SIGINT forces.
    pub forces: bool,
    /// Every SIGINT counts, else all of them count as one.
    pub each_interrupt_counts: bool,
    pub reraises: Reraises,
    pub lame_duck: bool,
    /// Plain tasks that are parked, and as many that yield all the time.
    pub tasks: usize,
    /// Children that are forked meanwhile and raise signals of their own.
    pub forks: usize,
    /// Signals that threads of the process raise themselves.
    pub raises: usize,
    pub acts: Vec<Act>,
}

/// `tokio::signal` beside the program, on signal-hook-registry: its handler stays for ever.
#[derive(Debug, PartialEq, Eq)]
pub enum Neighbour {
    Nobody,
    /// Below our handler.
    Before,
    /// On top of it.
    After,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Reraises {
    Never,
    Interrupt,
    Always,
}

/// What is sent in one go. Nothing is pending before and after.
#[derive(Debug)]
pub enum Act {
    /// Each once the one before has been heard: none is merged.
    Paced(Vec<i32>),
    /// As fast as it goes, by two threads.
    Volley(Vec<i32>),
    /// All of it while the process is stopped by SIGSTOP.
    Stopped(Vec<i32>),
}

impl Act {
    pub fn signals(&self) -> &[i32] {
        match self {
            Act::Paced(signals) | Act::Volley(signals) | Act::Stopped(signals) => signals,
        }
    }
}

impl Plan {
    pub fn of(seed: u64) -> Plan {
        let mut rng = Rng::with_seed(seed);
        let neighbours = [Neighbour::Nobody, Neighbour::Before, Neighbour::After];
        let mut plan = Plan {
            backend: BACKENDS[(seed % BACKENDS.len() as u64) as usize],
            witness: rng.u8(..4) > 0,
            neighbour: rng.choice(neighbours).expect("there are three"),
            reacts: rng.bool(),
            forces: rng.bool(),
            each_interrupt_counts: rng.bool(),
            reraises: rng
                .choice([Reraises::Never, Reraises::Interrupt, Reraises::Always])
                .expect("there are three"),
            lame_duck: rng.u8(..4) == 0,
            tasks: rng.usize(..50),
            forks: rng.usize(..4),
            raises: rng.usize(..500),
            acts: Vec::new(),
        };
        // A few kinds or all of them: with few there is more merging.
        let mut kinds: Vec<i32> = STANDARD.iter().chain(&QUEUED).copied().collect();
        rng.shuffle(&mut kinds);
        kinds.truncate(rng.usize(1..=kinds.len()));
        for _ in 0..rng.usize(3..9) {
            let mut some = |most: usize| -> Vec<i32> {
                (0..rng.usize(1..most)).map(|_| kinds[rng.usize(..kinds.len())]).collect()
            };
            let act = match some(4).len() {
                1 => Act::Paced(some(400)),
                2 => Act::Volley(some(2000)),
                _ => Act::Stopped(some(200)),
            };
            plan.acts.push(act);
        }
        if plan.reacts {
            plan.acts.insert(rng.usize(..=plan.acts.len()), Act::Paced(vec![END]));
        }
        plan
    }
}
