//! soon
use adjourn_benches::rows::tasks::{self, Effort};
use adjourn_benches::host::Config;
fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.first().is_some_and(|a| a == "--child") { return adjourn_benches::rows::child::run(&args[1..]); }
    println!("{}", adjourn_benches::rows::machine::describe());
    let e = if args.iter().any(|a| a == "--quick") { Effort::Quick } else { Effort::Full };
    for c in Config::ALL { let t = std::time::Instant::now(); let m = tasks::on(c, e); println!("{}\n{:?}", m.table.to_markdown(), t.elapsed()); }
}
