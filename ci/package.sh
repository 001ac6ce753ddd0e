#!/usr/bin/env bash
# The packages of all published crates, verified together: each is built from what its package holds, with
# the other packages in place of the registry. What is in them goes to target/packages.txt; a package has
# its sources, examples, README and licences, and nothing else.
#
# A working tree that is not committed is packaged as it is. `ci/package.sh list` builds nothing.
set -euo pipefail
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-target}
packages=()
for manifest in crates/*/Cargo.toml; do
    packages+=(-p "$(basename "$(dirname "$manifest")")")
done
options=(--quiet --allow-dirty --all-features)
[ "${1:-}" = list ] && options+=(--no-verify)
rm -rf "$target/package"
# Cargo takes what it has unpacked and built before of a package of this name and version from a registry at
# this place, and that may be an older state of ours. Registries that are folders have no name before the hash.
rm -rf "${CARGO_HOME:-$HOME/.cargo}"/registry/{src,cache}/-*/adjourn*-[0-9]*
{ grep -ls "registry/src/-" "$target"/debug/deps/adjourn*.d || true; } | while read -r built; do
    hash=${built##*-}
    rm -rf "$target"/debug/.fingerprint/adjourn*-"${hash%.d}"
done
# Optional dependencies are compiled too: what a feature misses is seen here, not by its first user.
if ! cargo package "${options[@]}" "${packages[@]}" >"$target/package.log" 2>&1; then
    tail -n 60 "$target/package.log" >&2
    exit 1
fi
list=$target/packages.txt
: >"$list"
for manifest in crates/*/Cargo.toml; do
    name=$(basename "$(dirname "$manifest")")
    package=$(echo "$target/package/$name"-[0-9]*.crate)
    tar -tzf "$package" | cut -d/ -f2- | sort >"$target/package/files"
    sed "s|^|$name: |" "$target/package/files" >>"$list"
    for file in Cargo.toml README.md LICENSE-MIT LICENSE-APACHE src/lib.rs; do
        grep -qx "$file" "$target/package/files" || { echo "$name: no $file in the package" >&2; exit 1; }
    done
    for license in LICENSE-MIT LICENSE-APACHE; do
        # Of the link in the crate's folder, what it leads to.
        tar -xzOf "$package" "$(basename "$package" .crate)/$license" | cmp -s - "$license" || {
            echo "$name: its $license is another one" >&2
            exit 1
        }
    done
    if grep -vE '^((src|examples)/.*\.(rs|c)|src/.*/tests/.*\.(svg|txt)|Cargo\.(toml|toml\.orig|lock)|\.cargo_vcs_info\.json|README\.md|LICENSE-(MIT|APACHE))$' \
        "$target/package/files" >&2; then
        echo "$name: those do not belong into the package" >&2
        exit 1
    fi
    echo "$name: $(wc -l <"$target/package/files") files, $(stat -c %s "$package") bytes"
done
