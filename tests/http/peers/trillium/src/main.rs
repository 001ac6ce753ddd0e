//! The handler of `served` on trillium, to be restarted as that is: `trillium-served WAY inherited`, where WAY is
//! `trillium-tokio` or `trillium-smol`. It takes the listener and hears SIGTERM by itself, both by default.

use std::io::{self, Write};
use std::process::{self, ExitCode};

use trillium::{Conn, Handler, Info};

fn say(line: &str) {
    _ = io::stdout().write_all(format!("{line}\n").as_bytes());
}

/// Says that the server is ready, once it has its listener.
fn app() -> impl Handler {
    let ready = trillium::init(async |info: Info| {
        say(&format!("ready {}", process::id()));
        info
    });
    (ready, async |conn: Conn| match conn.path() {
        "/" => conn.ok("hello"),
        _ => conn,
    })
}

fn main() -> ExitCode {
    match std::env::args().nth(1).as_deref() {
        Some("trillium-tokio") => trillium_tokio::config().with_nodelay().run(app()),
        Some("trillium-smol") => trillium_smol::config().with_nodelay().run(app()),
        _ => {
            eprintln!("trillium-served trillium-tokio|trillium-smol inherited");
            return ExitCode::from(2);
        }
    }
    say(&format!("ended {} 0", process::id()));
    ExitCode::SUCCESS
}
