# For other systems than this one: sourced by windows.sh and targets.sh, which set `name`.
#
# rustup cannot always be asked for a target. So the compiler is Debian's `rustc-web`, and std is built from
# `rust-web-src`.
case ${CARGO_TARGET_DIR:=target} in
    /*) into=$CARGO_TARGET_DIR/$name ;;
    *) into=$PWD/$CARGO_TARGET_DIR/$name ;;
esac
mkdir -p "$into"
rustc=/usr/bin/rustc cargo=/usr/bin/cargo

skip() {
    echo "$name: $1: skipped"
    exit 0
}

say() {
    echo "$name: $1"
}

# One line is worth more than a thousand, unless it failed.
quietly() {
    local log=$into/quiet.log
    if ! "$@" >"$log" 2>&1 </dev/null; then
        tail -n 60 "$log" >&2
        return 1
    fi
}

# Which packages are missing, of the compiler's and of those that are asked for as COMMAND:PACKAGE. A tool
# that is there counts, whoever installed it.
missing() {
    { "$rustc" --version 2>/dev/null | grep -Eq 'rustc 1\.(8[5-9]|9[0-9]|[0-9]{3})'; } || echo rustc-web
    [ -x "$cargo" ] || echo cargo-web
    [ -d "$("$rustc" --print sysroot 2>/dev/null)/lib/rustlib/src/rust/library/std" ] || echo rust-web-src
    local tool
    for tool in "$@"; do
        command -v "${tool%%:*}" >/dev/null || echo "${tool#*:}"
    done
}

install() {
    local wanted options
    read -ra wanted <<<"$(missing "$@" | tr '\n' ' ')"
    [ ${#wanted[@]} = 0 ] && return 0
    command -v apt-get >/dev/null || skip "no ${wanted[*]}, and no apt-get"
    [ "$(id -u)" = 0 ] || skip "no ${wanted[*]}, and not root"
    quietly apt-get update || skip "no ${wanted[*]}, and apt-get update failed"
    apt-cache show "${wanted[@]}" >/dev/null 2>&1 || skip "Debian here has no ${wanted[*]}"
    # Manuals are for people; fsync is for machines that live on.
    options=(-o Dpkg::Options::=--force-unsafe-io -o 'Dpkg::Options::=--path-exclude=/usr/share/doc/*'
        -o 'Dpkg::Options::=--path-exclude=/usr/share/man/*')
    DEBIAN_FRONTEND=noninteractive quietly apt-get install -y --no-install-recommends "${options[@]}" \
        "${wanted[@]}" || skip "${wanted[*]} cannot be installed"
    [ -z "$(missing "$@")" ] || skip "still no $(missing "$@" | tr '\n' ' ')after the installation"
    say "installed ${wanted[*]}"
}

# Cargo for `$target`, quiet but for what it is asked to print. A warning is an error.
build() {
    local command=$1 log=$into/build.log
    shift
    # No debug information, which is half of the time, and most of the space.
    if ! RUSTC=$rustc RUSTDOC=${rustc%c}doc RUSTC_BOOTSTRAP=1 CARGO_TARGET_DIR=$into CARGO_INCREMENTAL=0 RUSTFLAGS='' \
        CARGO_PROFILE_DEV_DEBUG=0 CARGO_PROFILE_TEST_DEBUG=0 \
        CARGO_TARGET_X86_64_PC_WINDOWS_GNU_LINKER=x86_64-w64-mingw32-gcc \
        "$cargo" "$command" -Zbuild-std=std,panic_abort --target "$target" "$@" 2>"$log" ||
        grep -q '^warning' "$log"; then
        tail -n 60 "$log" >&2
        return 1
    fi
}
