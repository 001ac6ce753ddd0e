#!/usr/bin/env bash
# The libraries compile with the oldest Rust that they promise (`rust-version`), all features on.
#
# That compiler is rustup's where it is installed, else Debian's `rustc-web` of that version: it is unpacked
# beside the build and not installed, so that a newer one may be there. Where neither can be had it is
# skipped, in one line.
set -euo pipefail
cd "$(dirname "$0")/.."
. ci/tools.sh
oldest=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
case ${CARGO_TARGET_DIR:=target} in
    /*) into=$CARGO_TARGET_DIR/msrv ;;
    *) into=$PWD/$CARGO_TARGET_DIR/msrv ;;
esac
mkdir -p "$into"

skip() {
    echo "Rust $oldest: $1: skipped"
    exit 0
}

# The newest version of a Debian package that begins so.
version() { # package, the beginning
    apt-cache madison "$1" 2>/dev/null | awk -F'|' '{ gsub(/ /, ""); print $2 }' | grep -m1 -F "$2" || true
}

unpack() {
    local found file wanted=() root=$into/unpacked
    command -v apt-get >/dev/null || skip "rustup has none, and there is no apt-get"
    found=$(version rustc-web "$oldest.")
    if [ -z "$found" ] && [ "$(id -u)" = 0 ]; then
        apt-get update >/dev/null 2>&1 || true
        found=$(version rustc-web "$oldest.")
    fi
    [ -n "$found" ] || skip "neither rustup nor Debian has it here"
    wanted=("rustc-web=$found" "libstd-rust-web-dev=$found" "libstd-rust-web-$oldest=$found")
    rm -rf "$into/debs" "$root"
    mkdir -p "$into/debs" "$root"
    # The LLVM that it was linked with is in the dependencies of its library.
    wanted+=("$(apt-cache depends "libstd-rust-web-$oldest=$found" | grep -om1 'libllvm[0-9]*')") ||
        skip "its LLVM is unknown"
    (cd "$into/debs" && apt-get download "${wanted[@]}" >/dev/null 2>&1) || skip "it cannot be downloaded"
    for file in "$into"/debs/*.deb; do
        dpkg -x "$file" "$root"
    done
    rm -rf "$into/debs"
    # Its libraries are found beside it alone.
    cat >"$into/rustc" <<SH
#!/bin/sh
LD_LIBRARY_PATH=$root/usr/lib/x86_64-linux-gnu exec $root/usr/bin/rustc "\$@"
SH
    chmod +x "$into/rustc"
}

if rustup toolchain list 2>/dev/null | grep -q "^$oldest[.-]"; then
    RUSTC=$(rustup which --toolchain "$oldest" rustc)
else
    [ "$(uname -m)" = x86_64 ] || skip "rustup has none"
    "$into/rustc" --version >/dev/null 2>&1 || unpack
    RUSTC=$into/rustc
fi
export RUSTC
"$RUSTC" --version | grep -qF "rustc $oldest." || skip "$("$RUSTC" --version 2>&1 | head -n1) came in its place"
published
RUSTFLAGS="-D warnings" CARGO_TARGET_DIR=$into cargo check --quiet --locked --lib --all-features "${packages[@]}"
echo "$("$RUSTC" --version | cut -d' ' -f1-2): $((${#packages[@]} / 2)) crates compile, all features on"
