//! Panics of runs that are made on purpose by the hundred: kept from the output, and remembered.

use std::cell::{Cell, RefCell};
use std::panic::{self, PanicHookInfo};
use std::sync::Once;

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
    /// Where this thread panicked last.
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Runs something whose panics on this thread are not printed, if `quiet`. Returns its result and
/// where this thread panicked last meanwhile.
///
/// For that a panic hook is installed, once in the process and for good. It passes on what other
/// threads, and other code of this one, panic with.
pub(crate) fn quietly<R>(quiet: bool, run: impl FnOnce() -> R) -> (R, Option<String>) {
    struct Before(bool);
    impl Drop for Before {
        fn drop(&mut self) {
            QUIET.set(self.0);
        }
    }
    install();
    PLACE.take();
    let _before = Before(QUIET.replace(quiet));
    let result = run();
    (result, PLACE.take())
}

fn install() {
    static ONCE: Once = Once::new();
    // A thread that panics cannot change the hook. Then panics are only louder.
    if std::thread::panicking() {
        return;
    }
    ONCE.call_once(|| {
        let others = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !note(info) {
                others(info);
            }
        }));
    });
}

/// Returns whether it is not to be printed. A thread that is ending has no locals any more.
fn note(info: &PanicHookInfo<'_>) -> bool {
    let place = info.location().map(|place| format!("{}:{}", place.file(), place.line()));
    _ = PLACE.try_with(|last| last.try_borrow_mut().map(|mut last| *last = place));
    QUIET.try_with(Cell::get).unwrap_or(false)
}
