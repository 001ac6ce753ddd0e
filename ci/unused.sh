#!/usr/bin/env bash
# No crate depends on one that it does not use.
set -euo pipefail
cd "$(dirname "$0")/.."
. ci/tools.sh
need machete
cargo machete --with-metadata
