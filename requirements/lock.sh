#!/usr/bin/env bash
# Writes the hashed locks anew from pyproject.toml; `make lock` calls it.
set -euo pipefail
cd "$(dirname "$0")/.."
lock() { # lock FILE EXTRA...
  local out=$1; shift
  uv pip compile -q --universal --generate-hashes --no-emit-index-url --no-annotate --no-header \
    "${@/#/--extra=}" -o "requirements/$out.txt" pyproject.toml
}
lock api api
lock worker worker
lock local local
lock dev dev
