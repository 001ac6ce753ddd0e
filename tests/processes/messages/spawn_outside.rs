//> no scope here: this is outside `adjourn::run`
//> or carry a `Scope` to this thread and call `scope.spawn(..)`
fn main() {
    adjourn::spawn(async {});
}
