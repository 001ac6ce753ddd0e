#!/usr/bin/env bash
# Windows: cross-compiled with MinGW and run under Wine. The quickstart is ended by the key, and the core's
# tests and the semantics are run.
#
# Where Debian's packages cannot be had it is skipped, in one line that says what is missing; a build or a
# test that fails is a failure. What is there already is not installed or built again.
#
#   ci/windows.sh              what the gate runs
#   ci/windows.sh all          beside it: that everything compiles without warnings, the console events in
#                              whole processes, the other test binaries, the quickstart on each backend
#   ci/windows.sh run FILE..   an .exe, in a console
#
# WINDOWS_LIMIT: seconds that one test binary may take (240).
set -euo pipefail
cd "$(dirname "$0")/.."

which=${1:-some}
target=x86_64-pc-windows-gnu
name=windows
. ci/cross.sh
start=$SECONDS

# A prefix of our own. A Wine before 9 lacks the one DLL from which Rust's std takes a function.
prepare_wine() {
    export WINEPREFIX=$into/wine WINEDEBUG=-all DISPLAY='' WINEDLLOVERRIDES='mscoree,mshtml='
    local system=$WINEPREFIX/drive_c/windows/system32
    if [ ! -e "$WINEPREFIX/made" ]; then
        rm -rf "$WINEPREFIX"
        quietly timeout 180 wineboot -i || skip "wineboot failed"
        timeout 60 wineserver -w || true
        [ -d "$system" ] || skip "Wine made no prefix"
        touch "$WINEPREFIX/made"
    fi
    [ -e "$system/bcryptprimitives.dll" ] && return 0
    cat >"$into/prng.c" <<'C'
#include <windows.h>
#include <ntsecapi.h>
BOOL WINAPI ProcessPrng(PBYTE bytes, SIZE_T count)
{
    for (SIZE_T done = 0; done < count;) {
        ULONG part = (ULONG)min(count - done, (SIZE_T)1 << 20);
        if (!RtlGenRandom(bytes + done, part)) return FALSE;
        done += part;
    }
    return TRUE;
}
C
    quietly x86_64-w64-mingw32-gcc -shared -O1 -s -o "$system/bcryptprimitives.dll" "$into/prng.c" -ladvapi32
}

# Runs an .exe with a console, and its output in a file: a console's output is a screen, not lines. The
# exit code is that of `wine`, the lower 8 bits of the program's.
in_console() { # log, seconds, exe, arguments
    local log=$1 limit=$2 code
    shift 2
    timeout -k 5 "$limit" script -qec "wine $(printf '%q ' "$@") >'$log' 2>&1; echo \$? >'$log.code'" /dev/null \
        </dev/null >/dev/null 2>&1 || true
    code=$(cat "$log.code" 2>/dev/null || echo 124)
    rm -f "$log.code"
    sed -i 's/\r$//' "$log"
    return "$code"
}

run_tests() { # a name for people, what cargo is to build; behind `--` arguments of the tests
    local tests=$1 log=$into/run.log executable failed=0
    shift
    local wanted=()
    while [ $# -gt 0 ] && [ "$1" != -- ]; do
        wanted+=("$1")
        shift
    done
    [ $# -gt 0 ] && shift
    [[ " $* " == *" --test-threads="* ]] || set -- --test-threads=2 "$@"
    if ! build test --no-run --message-format=json "${wanted[@]}" >"$into/build.json"; then
        say "$tests does not build" >&2
        return 1
    fi
    # By the profile: a package's programs, which are built too, are no tests.
    grep '"profile":{[^}]*"test":true}' "$into/build.json" | grep -o '"executable":"[^"]*\.exe"' | cut -d'"' -f4 >"$into/executables"
    [ -s "$into/executables" ] || { say "$tests: there is no test" >&2; return 1; }
    while read -r executable; do
        if in_console "$log" "${WINDOWS_LIMIT:-240}" "$executable" "$@"; then
            say "$tests: $(grep '^test result' "$log" | sed 's/^test result: //; s/; finished.*//')"
            grep -E 'exit code 0x|exit code [0-9]+ after' "$log" || true
        else
            say "$tests: exit code $?" >&2
            grep -vE '\.\.\. ok$' "$log" | tail -n 80 >&2
            failed=1
        fi
    done <"$into/executables"
    return "$failed"
}

# Ctrl-C by the key.
press_ctrl_c() { # exe, the line to wait for, a line that must come
    python3 - "$into/keys.log" "$@" <<'PYTHON'
import os, pty, select, sys, time
log, exe, ready, wanted = sys.argv[1:]
child, terminal = pty.fork()
if child == 0:
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.dup2(out, 1)
    os.dup2(out, 2)
    os.execvp("wine", ["wine", exe])
start = time.monotonic()
pressed = start - 60
while time.monotonic() - start < 60:
    while select.select([terminal], [], [], 0)[0]:
        try:
            if not os.read(terminal, 65536):
                break
        except OSError:
            break
    text = open(log, errors="replace").read() if os.path.exists(log) else ""
    # Wine's console may throw away what was typed while it set the terminal up. Nobody who heard the
    # first is still there 3 s later.
    if ready in text and wanted not in text and time.monotonic() - pressed > 3:
        os.write(terminal, b"\x03")
        pressed = time.monotonic()
    done, status = os.waitpid(child, os.WNOHANG)
    if done:
        text = open(log, errors="replace").read()
        code = os.waitstatus_to_exitcode(status)
        if code != 0 or wanted not in text:
            sys.exit(f"windows: pressed: {pressed > start}, exit code {code}\n{text}")
        sys.exit(0)
    time.sleep(0.05)
os.kill(child, 9)
sys.exit("windows: it did not end:\n" + open(log, errors="replace").read())
PYTHON
}

quickstart() { # a backend
    build build -p adjourn-examples --no-default-features --features "$1" --example quickstart
    press_ctrl_c "$into/$target/debug/examples/quickstart.exe" "tick 1" "long: cancelled, cleaned up"
    say "quickstart on $1: Ctrl-C ended it in order"
}

install x86_64-w64-mingw32-gcc:gcc-mingw-w64-x86-64-win32 wine:wine64 wine:wine script:bsdutils \
    python3:python3
prepare_wine
trap 'wineserver -k >/dev/null 2>&1 || true' EXIT

if [ "$which" = run ]; then
    shift
    in_console "$into/run.log" "${WINDOWS_LIMIT:-240}" "$@" && code=0 || code=$?
    cat "$into/run.log"
    exit "$code"
fi

quickstart tokio
# The machine is the same everywhere: its random plans are tried where they take less time.
PROPTEST_CASES=100 run_tests "core" -p adjourn-core --lib
run_tests "triggers" -p adjourn-clients -p adjourn-triggers --lib
# A hundred thousand tasks take half of the time there, and say nothing about Windows.
run_tests "semantics" -p adjourn-tests --test semantics -- --skip a_hundred_thousand_tasks
if [ "$which" = all ]; then
    quickstart smol
    quickstart async-std
    build build --workspace
    build test --workspace --no-run
    say "everything compiles without warnings"
    run_tests "console events" -p adjourn-processes --test console -- --nocapture --test-threads=1
    run_tests "properties" -p adjourn-tests --test properties
    run_tests "types" -p adjourn-tests --test auto_traits
    run_tests "simulator" -p adjourn-sim --all-features --lib --tests
    run_tests "conformance" -p adjourn-conformance-tests --test adapters
    run_tests "tokio" -p adjourn-tokio --lib --tests
    run_tests "smol" -p adjourn-smol --lib --tests
fi
say "$((SECONDS - start)) s"
