#!/usr/bin/env bash
# How many items each crate shows, and that they are meant to be shown: other projects' types are
# those that are listed, what can grow may, futures must be used, auto traits are tested.
# Their signatures stand in ci/public/*.txt, for Linux and with all features. A change that moves one
# changes the list too: `ci/public.sh --renew` writes it.
set -euo pipefail
cd "$(dirname "$0")/.."
[ "${1:-}" = --renew ] && export ADJOURN_RENEW=1
. ci/tools.sh
others
cargo test --quiet "${others[@]}" --test public -- --ignored --nocapture
