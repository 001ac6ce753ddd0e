//! Three scopes stop one after another: http before the workers that it feeds, those before the
//! database that they write to. Ctrl-C ends it.

use std::time::Duration;

use adjourn::{Exit, Scope, scope};
use adjourn_examples::{on_backend, sleep};

/// Puts two tasks into a scope; each takes its time when it is asked to stop.
fn start(part: &Scope) {
    for number in 1..=2 {
        let name = format!("{} {number}", part.name());
        let task = part.task(name.clone());
        task.spawn_graceful(|stop| async move {
            println!("{name}: started");
            stop.requested().await;
            println!("{name}: asked to stop");
            sleep(Duration::from_millis(100 * number)).await;
            println!("{name}: finished");
        });
    }
    let name = part.name().to_owned();
    part.on_stopped(async move {
        sleep(Duration::from_millis(50)).await;
        println!("{name}: stopped");
    });
}

fn main() -> Exit {
    on_backend!(Runner => Runner::new().run(async {
        // What a scope depends on has to be there before it: two cannot depend on each other.
        let db = scope("db");
        let workers = scope("workers").depends_on(&db);
        let http = scope("http").depends_on(&workers).depends_on(&db);
        for part in [&db, &workers, &http] {
            start(part);
        }
        println!("Ctrl-C ends it");
    }))
}
