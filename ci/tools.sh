# Cargo's subcommands that come from crates.io: sourced by the scripts that need one.

# Makes sure of `cargo NAME`, and says so and ends the script where it cannot be had.
need() { # deny
    command -v "cargo-$1" >/dev/null && return 0
    echo "cargo-$1 is not installed: cargo install --locked cargo-$1"
    # The dependencies' versions are those that its authors tried it with.
    if ! cargo install --quiet --locked "cargo-$1" >/dev/null 2>&1 || ! command -v "cargo-$1" >/dev/null; then
        echo "cargo-$1 cannot be had: skipped"
        exit 0
    fi
}

# Sets `packages` to `-p NAME` of all published crates, or of those with a feature.
published() { # [with-features]
    local manifest
    packages=()
    for manifest in crates/*/Cargo.toml; do
        [ "${1:-}" = with-features ] && ! grep -q '^\[features\]' "$manifest" && continue
        packages+=(-p "$(basename "$(dirname "$manifest")")")
    done
}
