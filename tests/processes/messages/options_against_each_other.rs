//> not started: the drain limit (2s) is longer than the timeout (1s): shorten it or give a longer timeout
use std::time::Duration;

fn main() -> adjourn::Exit {
    let runner = adjourn::Runner::new().timeout(Duration::from_secs(1));
    runner.drain_limit(Duration::from_secs(2)).run(async {})
}
