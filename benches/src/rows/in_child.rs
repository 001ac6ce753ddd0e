//! What a process measures that [`child`](super::child) has started.

use super::{memory, process, scopes, tasks, trees};
use crate::host::Config;

/// Does what [`child::start`](super::child::start) asked for, and prints the figures.
///
/// # Panics
///
/// When it does not know that.
pub fn run(args: &[String]) {
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let number = |text: &str| text.parse().expect("a number");
    let figures = match args[..] {
        ["short", config, what, tasks, rounds] => {
            tasks::short(Config::named(config), what, number(tasks), number(rounds))
        }
        ["once", config, what, way, count] => {
            tasks::once(Config::named(config), what, way, number(count))
        }
        ["cancel", config, way, count] => {
            tasks::cancel_once(Config::named(config), way, number(count))
        }
        ["allocations", config, way, count] => {
            memory::allocations_at_once(Config::named(config), way, number(count))
        }
        ["bytes", config, way, count] => {
            memory::parked_bytes(Config::named(config), way, number(count))
        }
        ["scopes", what, way, count] => scopes::once(what, way, number(count)),
        ["tree", way, shape, size] => vec![trees::once(way, shape, number(size))],
        ["returned", config, count] => {
            vec![process::returned(Config::named(config), number(count))]
        }
        ["returned by hand", count] => vec![process::returned_by_hand(number(count))],
        ["terminated", config, spawns, count] => {
            vec![process::terminated(Config::named(config), spawns, number(count))]
        }
        ["wedged", config] => process::wedged(Config::named(config)),
        ["signal", rounds] => process::signal_with(number(rounds)),
        _ => panic!("no such child: {args:?}"),
    };
    figures.iter().for_each(|figure| println!("{figure}"));
}
