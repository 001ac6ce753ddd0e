#!/usr/bin/env bash
# What starts and stops programs: as process 1 in a namespace, under tini, s6 and runit, with sockets from
# systemd's own tool; and docs/deploy by `systemd-analyze verify`. Debian's packages are installed where that
# is allowed. What cannot be had is said and left out.
set -euo pipefail
cd "$(dirname "$0")/.."
wanted=()
for tool in tini:tini s6-svscan:s6 runsv:runit systemd-socket-activate:systemd unshare:util-linux; do
    command -v "${tool%%:*}" >/dev/null || wanted+=("${tool#*:}")
done
if [ ${#wanted[@]} != 0 ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    export DEBIAN_FRONTEND=noninteractive
    { apt-get update && apt-get install -y --no-install-recommends "${wanted[@]}"; } >/dev/null 2>&1 || true
fi
. ci/tools.sh
others
cargo test --quiet "${others[@]}" --test supervisors --test activation --test deploy -- --nocapture
