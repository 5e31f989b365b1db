#!/usr/bin/env bash
# Writes the hashed locks anew from pyproject.toml; `make lock` calls it.
set -euo pipefail
cd "$(dirname "$0")/.."
compile() {
  uv pip compile -q --universal --generate-hashes --no-emit-index-url --no-annotate --no-header "$@"
}
lock() { # lock FILE EXTRA...
  local out=$1; shift
  compile "${@/#/--extra=}" -o "requirements/$out.txt" pyproject.toml
}
lock api api otel
lock granian granian otel
lock worker worker otel
lock cuda worker cuda otel
# With torch, which the other locks leave out on purpose (see tool.uv in pyproject.toml).
compile --no-config --override requirements/torch.overrides --extra=worker --extra=torch --extra=otel \
  -o requirements/torch.txt pyproject.toml
compile --no-config --override requirements/torch.overrides --extra=pyannote --extra=torch \
  -o requirements/pyannote.txt pyproject.toml
lock mlx mlx
lock sherpa sherpa
lock local local
lock dev dev
# A group has none of the project's own dependencies.
compile --group pyproject.toml:flower -o requirements/flower.txt
compile --group pyproject.toml:release -o requirements/release.txt
# Published clients, which tests drive in an environment of their own.
compile --python-version 3.11 tests/clients/python.in -o tests/clients/python.txt
