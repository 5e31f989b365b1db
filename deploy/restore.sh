#!/bin/sh
# Puts a backup into a compose stack and starts it:  deploy/restore.sh DIRECTORY
#
# Whatever the stack holds is replaced.
set -eu

from=$(cd "${1:?from where? e.g. deploy/restore.sh backups/2026-01-31}" && pwd)
cd "$(dirname "$0")/.."
[ -s "$from/ledger.tar" ] && [ -s "$from/blobs.tar" ] || { echo "$from holds no ledger.tar and blobs.tar" >&2; exit 2; }

# A backup that can't be opened is found before anything is touched. What isn't encrypted goes through as it is.
opened() { docker compose run --rm -T --no-deps --entrypoint python api -m transcription.encryption.stream open <"$1"; }
opened "$from/ledger.tar" >/dev/null
opened "$from/blobs.tar" >/dev/null

docker compose stop nginx api worker redis
opened "$from/blobs.tar" |
    docker compose run --rm -T --no-deps --entrypoint sh api -c 'rm -rf /data/blobs /data/pcm && tar -C /data -xf -'
opened "$from/ledger.tar" |
    docker compose run --rm -T --no-deps --entrypoint sh redis -c 'rm -rf /data/appendonlydir && tar -C /data -xf -'
docker compose up -d --no-build
