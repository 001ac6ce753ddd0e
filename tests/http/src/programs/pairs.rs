//! What a request takes beside `axum::serve`, in pairs: `pairs [--pairs 10] [--requests 5000] [--write]`.
//!
//! Both servers run for the whole time. In a pair they take turns, slice by slice, the one and the other
//! first, so that what else the machine does meets both. Shown are the medians and quartiles of the ratios: of
//! the time, and of the processor time of the server.

use std::path::Path;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use adjourn_http_tests::Client;
use adjourn_http_tests::page::{self, thousands};
use adjourn_http_tests::restart::{Manager, Way};

/// Clients at once, each on a keep-alive connection.
const CLIENTS: u64 = 4;
/// Each half of a pair is so many slices, which take turns.
const SLICES: u64 = 20;

struct Options {
    pairs: usize,
    requests: u64,
    write: bool,
}

fn options() -> Option<Options> {
    let mut options = Options { pairs: 10, requests: 5_000, write: false };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--pairs" => {
                options.pairs = arguments.next()?.parse().ok().filter(|pairs| *pairs > 0)?
            }
            "--requests" => {
                options.requests = arguments.next()?.parse().ok().filter(|all| *all >= SLICES)?;
            }
            "--write" => options.write = true,
            _ => return None,
        }
    }
    Some(options)
}

/// Times of one half of a pair.
#[derive(Clone, Copy, Default)]
struct Times {
    wall: Duration,
    /// The server's processor time.
    processor: Duration,
}

/// A server that runs, and its clients.
struct Server {
    manager: Manager,
    clients: Vec<Client>,
}

impl Server {
    fn start(program: &Path, name: &'static str) -> Server {
        let manager = Manager::start(program, name, Way::InheritedNewFirst);
        let clients = (0..CLIENTS).map(|_| Client::to(manager.address)).collect();
        Server { manager, clients }
    }

    /// Answers so many requests of each client, and adds what that took.
    fn answer(&mut self, requests: u64, times: &mut Times) {
        let before = processor_time(self.manager.current);
        let start = Instant::now();
        thread::scope(|scope| {
            for client in &mut self.clients {
                scope.spawn(move || {
                    for _ in 0..requests {
                        assert_eq!(client.get("/").expect("it answers").body, b"hello");
                    }
                });
            }
        });
        times.wall += start.elapsed();
        times.processor += processor_time(self.manager.current).saturating_sub(before);
    }
}

/// How long the threads of a program have run: Linux counts it in nanoseconds.
fn processor_time(program: u32) -> Duration {
    let tasks = std::fs::read_dir(format!("/proc/{program}/task")).expect("it runs");
    let nanos = tasks.filter_map(|task| {
        let text = std::fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(nanos.sum())
}

/// The quartiles: a quarter, the half and three quarters of the ratios are below.
fn quartiles(mut ratios: Vec<f64>) -> [f64; 3] {
    ratios.sort_by(f64::total_cmp);
    let at = |part: f64| {
        let place = part * (ratios.len() - 1) as f64;
        let (below, above) = (ratios[place.floor() as usize], ratios[place.ceil() as usize]);
        below + (above - below) * place.fract()
    };
    [0.25, 0.5, 0.75].map(at)
}

fn show([low, middle, high]: [f64; 3]) -> String {
    format!("{middle:.2} ({low:.2} to {high:.2})")
}

pub(crate) fn main() -> ExitCode {
    let Some(options) = options() else {
        eprintln!("pairs [--pairs NUMBER] [--requests NUMBER] [--write]");
        return ExitCode::from(2);
    };
    let own = std::env::current_exe().expect("this program has a path");
    let target = own.parent().and_then(Path::parent).unwrap_or(Path::new("."));
    let [served, field] = ["served", "field"].map(|name| own.with_file_name(name));
    let trillium = target.join("peers/release/trillium-served");
    let contenders = [
        ("tokio", "ours on Tokio", &served),
        ("smol", "ours on smol", &served),
        ("hyper-smol", "hyper on smol, by smol-hyper", &field),
        ("trillium-tokio", "trillium on Tokio", &trillium),
        ("trillium-smol", "trillium on smol", &trillium),
    ];
    if !field.exists() {
        eprintln!("the others are not built: `ci/http.sh 20 field` does it");
        return ExitCode::from(2);
    }
    let mut axum = Server::start(&field, "axum");
    let mut text = format!(
        "{} pairs, {CLIENTS} clients, {} requests of each in a half of a pair. {}.\n\n\
         | server | time, of `axum::serve`'s | processor time, of `axum::serve`'s |\n|---|---|---|\n",
        options.pairs,
        thousands(options.requests),
        page::versions()
    );
    print!("{text}");
    for (name, title, program) in contenders {
        if !program.exists() {
            eprintln!("{title}: not built, left out");
            continue;
        }
        let mut server = Server::start(program, name);
        // The first requests of each are warming up.
        server.answer(options.requests / 10, &mut Times::default());
        axum.answer(options.requests / 10, &mut Times::default());
        let (mut wall, mut processor) = (Vec::new(), Vec::new());
        for _ in 0..options.pairs {
            let (mut own, mut other) = (Times::default(), Times::default());
            for slice in 0..SLICES {
                let requests = options.requests / SLICES;
                if slice % 2 == 0 {
                    server.answer(requests, &mut own);
                    axum.answer(requests, &mut other);
                } else {
                    axum.answer(requests, &mut other);
                    server.answer(requests, &mut own);
                }
            }
            wall.push(own.wall.as_secs_f64() / other.wall.as_secs_f64());
            processor.push(own.processor.as_secs_f64() / other.processor.as_secs_f64());
        }
        let [wall, processor] = [wall, processor].map(|ratios| show(quartiles(ratios)));
        let row = format!("| {title} | {wall} | {processor} |\n");
        print!("{row}");
        text += &row;
    }
    if options.write {
        if let Err(error) = page::write("times", &text) {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}

#[cfg(test)]
mod tests {
    use super::quartiles;

    #[test]
    fn quartiles_of_few_lie_between_them() {
        assert_eq!(quartiles(vec![1.0]), [1.0; 3]);
        assert_eq!(quartiles(vec![3.0, 1.0, 2.0]), [1.5, 2.0, 2.5]);
        assert_eq!(quartiles(vec![1.0, 2.0, 3.0, 4.0]), [1.75, 2.5, 3.25]);
    }
}
