# What several scripts need: sourced by them.

# Makes sure of a subcommand from crates.io, `cargo NAME`, and says so and ends the script where it cannot be had.
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

# Sets `others` to `-p NAME` of what `cargo test` leaves out: what is no default member. Always taken together,
# even where one is wanted: features go by what is asked for, and so all is built once.
others() {
    local metadata package
    metadata=$(cargo metadata --no-deps --format-version 1)
    list() {
        grep -o "\"$1\":\[[^]]*\]" <<<"$metadata" | cut -d: -f2- | grep -o '"[^"]*"' | tr -d '"' | sort
    }
    others=()
    while read -r package; do
        others+=(-p "$package")
    done < <(comm -23 <(list workspace_members) <(list workspace_default_members))
    [ ${#others[@]} != 0 ]
    # SQLite and tonic: the servers to copy. They take a while to build.
    others+=(--features adjourn-servers/database,adjourn-servers/chat,adjourn-servers/grpc)
}
