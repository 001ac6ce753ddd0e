//~ unused `Exit` that must be used
//~ return it from `main`, or call `exit()`, so that the exit code is the report's
fn main() {
    adjourn::run(async {});
}
