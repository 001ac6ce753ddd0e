#!/usr/bin/env bash
# AddressSanitizer with leak detection, then ThreadSanitizer, over the tests with the most sharing:
# stops, handles and shields on every backend, handlers and listeners, whole processes in a storm.
#
# Skips, with one line, what this machine has no toolchain for. `ci/sanitizers.sh all` runs all tests
# of the semantics, and those of processes; `address` or `thread` as the next argument, that one.
set -euo pipefail
cd "$(dirname "$0")/.."

which=${1:-some}
sanitizers=${2:-address thread}
target=x86_64-unknown-linux-gnu
into=$PWD/${CARGO_TARGET_DIR:-target}/sanitizers

if ! rustc +nightly --version >/dev/null 2>&1; then
    echo "sanitizers: no nightly toolchain: skipped"
    exit 0
fi
# What a sanitizer says goes to files, and is printed last: between the lines of the tests it is lost.
reports=$into/reports
rm -rf "$reports"
mkdir -p "$reports"
trap 'for report in "$reports"/*; do [ -f "$report" ] && head -c 20000 "$report"; done || true' EXIT
libraries=$(rustc +nightly --print target-libdir --target "$target" 2>/dev/null || true)

# The names of std's functions that synchronise, as linked into a program that uses them.
#
# See std_sync.c. Names that are not found are std's own change: then there is no point in a run.
wrap_std() {
    local dir=$into/std
    mkdir -p "$dir"
    cat >"$dir/uses.rs" <<'RUST'
use std::sync::{Condvar, Mutex, Once, RwLock};
fn main() {
    let (mutex, lock, condvar, once) = (Mutex::new(0), RwLock::new(0), Condvar::new(), Once::new());
    once.call_once(|| drop((lock.write(), mutex.lock())));
    drop(lock.read());
    drop(condvar.wait_timeout(mutex.lock().unwrap(), std::time::Duration::ZERO));
    drop(condvar.wait_while(mutex.lock().unwrap(), |_| false));
}
RUST
    rustc +nightly --target "$target" -o "$dir/uses" "$dir/uses.rs" 2>/dev/null
    nm "$dir/uses" | awk '$2 == "T" { print $3 }' | sort -u >"$dir/names"
    : >"$dir/symbols.h"
    local kind pattern found flags=""
    while read -r kind pattern; do
        found=$(grep -E "3std3sys4sync.*$pattern\$" "$dir/names" || true)
        if [ -z "$found" ]; then
            echo "std has no ${pattern}"
            return 1
        fi
        for name in $found; do
            echo "WRAP($name, $kind)" >>"$dir/symbols.h"
            flags="$flags -Clink-arg=-Wl,--wrap=$name"
        done
    done <<'PATTERNS'
LOCKED Mutex14lock_contended
LOCKED RwLock1[45](read|write)_contended
WAITED Condvar[0-9]+wait(_optional)?(_timeout)?
ONCE Once4call
PATTERNS
    cc -O1 -g -fPIC -fexceptions -I"$dir" -c ci/sanitizers/std_sync.c -o "$dir/std_sync.o"
    flags="$flags -Clink-arg=$dir/std_sync.o"
    echo "$flags"
}

for sanitizer in $sanitizers; do
    short=asan
    [ "$sanitizer" = thread ] && short=tsan
    if ! ls "$libraries"/librustc*_rt."$short".a >/dev/null 2>&1; then
        echo "sanitizers: no $sanitizer runtime in the nightly toolchain: skipped"
        continue
    fi
    flags="-Zsanitizer=$sanitizer"
    if [ "$sanitizer" = thread ]; then
        if ! wrapped=$(wrap_std); then
            echo "sanitizers: $wrapped in this nightly: ThreadSanitizer skipped"
            continue
        fi
        # The library is not compiled with it: allowed, and told by std_sync.c and the suppressions.
        flags="$flags -Cunsafe-allow-abi-mismatch=sanitizer $wrapped"
    fi
    export RUSTFLAGS="$flags" CARGO_TARGET_DIR="$into/$sanitizer"
    export CARGO_PROFILE_DEV_DEBUG=line-tables-only CARGO_PROFILE_TEST_DEBUG=line-tables-only
    # Each test is much slower there, and busy: no more at once than there are processors.
    RUST_TEST_THREADS=$(nproc)
    export RUST_TEST_THREADS
    # Backtraces and captured output are the library's too, which is not compiled with it.
    export RUST_BACKTRACE=0 RUST_TEST_NOCAPTURE=1
    export ASAN_OPTIONS="detect_leaks=1:detect_stack_use_after_return=1:log_path=$reports/address"
    export TSAN_OPTIONS="suppressions=$PWD/ci/sanitizers/threads.supp:exitcode=66:die_after_fork=0:log_path=$reports/thread"
    test=(cargo +nightly test --target "$target" --no-fail-fast)
    some=(stop:: tokens:: programs:: tasks:: shield:: cleanup::)
    [ "$which" = all ] && some=()
    # The machine's tests have one thread and no unsafe code, and would take the most time.
    "${test[@]}" -p adjourn-core --lib -- --skip tests::phase
    # That many tasks take minutes where each access is looked at.
    [ "$sanitizer" = thread ] && some+=(--skip a_hundred_thousand_tasks)
    "${test[@]}" -p adjourn-tests --test semantics -- "${some[@]}"
    if [ "$sanitizer" = thread ]; then
        # It has a handler of its own in front of each, which delivers once the thread comes by a call
        # that it intercepts: processes that are told to end by a signal would hang. These raise
        # their signals in threads that go on.
        "${test[@]}" -p adjourn-core --test signal -- each_of_many every_raise in_a_storm \
            listeners_come nudge signals_are_returned terminate_is_not the_order_holds
    else
        # The one that is left out measures resident memory, which the sanitizer does not give back.
        "${test[@]}" -p adjourn-core --test signal -- \
            --skip ten_thousand_registrations_take_no_more_than_one
        ADJOURN_STORM_RUNS=14 "${test[@]}" -p adjourn-processes --test storm
    fi
    [ "$which" = all ] && [ "$sanitizer" = address ] &&
        "${test[@]}" -p adjourn-processes --test probe
    echo "sanitizers: $sanitizer: nothing found"
done
