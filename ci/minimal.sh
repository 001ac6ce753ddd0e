#!/usr/bin/env bash
# The oldest versions that the manifests allow of each direct dependency resolve, in the whole workspace, and
# the libraries compile with them. A copy of the sources is resolved, so that Cargo.lock stays as it is.
set -euo pipefail
cd "$(dirname "$0")/.."
. ci/tools.sh
case ${CARGO_TARGET_DIR:=target} in
    /*) into=$CARGO_TARGET_DIR/minimal ;;
    *) into=$PWD/$CARGO_TARGET_DIR/minimal ;;
esac
published
rm -rf "$into/sources"
mkdir -p "$into/sources"
# With their times, so that only what has changed is built again; not what is deleted and not committed yet.
git ls-files -z --cached --others --exclude-standard | while IFS= read -rd '' file; do
    [ ! -e "$file" ] || printf '%s\0' "$file"
done | xargs -0 cp --parents -P --preserve=timestamps -t "$into/sources"
cd "$into/sources"
rm -f Cargo.lock
# An unstable option, which a stable Cargo is told to take.
if ! RUSTC_BOOTSTRAP=1 cargo generate-lockfile --quiet -Z direct-minimal-versions 2>resolved; then
    # Old versions are in nobody's cache: without the registry nothing can be said.
    if [ "${CARGO_NET_OFFLINE:-}" = true ] || grep -qiE "resolve host|network failure|couldn't connect|timed out" resolved; then
        echo "the oldest direct dependencies: the registry cannot be reached: skipped"
        exit 0
    fi
    cat resolved >&2
    exit 1
fi
CARGO_TARGET_DIR=$into cargo check --quiet --locked --lib --all-features "${packages[@]}"
echo "the oldest direct dependencies: $((${#packages[@]} / 2)) crates compile, all features on"
