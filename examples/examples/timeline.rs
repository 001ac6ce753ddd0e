//! A service stops, and shows who took how long: text on standard output, and as SVG into the file that is
//! named: `cargo run --example timeline -- stop.svg`. It stops by itself.

use std::time::Duration;

use adjourn::{Exit, FutureExt, Scope, scope, spawn_blocking, spawn_shielded, task};
use adjourn_examples::{on_backend, sleep};

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Answers so many requests, of which one takes long.
fn serve(http: &Scope) {
    for number in 1..=30 {
        let takes = if number == 17 { ms(1_400) } else { ms(10 * number) };
        http.task(format!("request {number}")).spawn_graceful(async move |stop| {
            stop.requested().await;
            sleep(takes).await;
        });
    }
    http.task("accept").spawn(std::future::pending::<()>());
}

/// Writes what is left of its batch when it is cancelled.
fn write(workers: &Scope) {
    let batch = std::future::pending::<()>().on_cancel(async { sleep(ms(500)).await });
    workers.task("batch").spawn(batch);
    workers.spawn(async {
        spawn_blocking(|| std::thread::sleep(ms(700)));
        task("mail").spawn_shielded(async { sleep(ms(900)).await });
        std::future::pending::<()>().await;
    });
}

fn main() -> Exit {
    let file = std::env::args().nth(1);
    on_backend!(Runner => {
        let runner = Runner::new().timeout(ms(8_000));
        let stopper = runner.stopper();
        let runner = runner.on_stop(async || sleep(ms(200)).await).on_report(move |report| {
            let timeline = report.timeline();
            println!("{timeline}");
            if let Some(file) = file {
                std::fs::write(&file, timeline.to_svg()).expect("the picture can be written");
            }
        });
        runner.run(async move {
            let db = scope("db");
            db.on_stopped(async || sleep(ms(300)).await);
            let workers = scope("workers").depends_on(&db);
            let http = scope("http").depends_on(&workers);
            serve(&http);
            write(&workers);
            spawn_shielded(async { sleep(ms(150)).await });
            sleep(ms(100)).await;
            stopper.stop_because("the example is over");
            std::future::pending::<()>().await;
        })
    })
}
