#!/bin/sh
# Puts a backup into a compose stack and starts it:  deploy/restore.sh DIRECTORY
#
# Whatever the stack holds is replaced.
set -eu

from=$(cd "${1:?from where? e.g. deploy/restore.sh backups/2026-01-31}" && pwd)
cd "$(dirname "$0")/.."
[ -s "$from/ledger.tar" ] && [ -s "$from/blobs.tar" ] || { echo "$from holds no ledger.tar and blobs.tar" >&2; exit 2; }

docker compose stop nginx api worker redis
docker compose run --rm -T --no-deps --entrypoint sh api -c 'rm -rf /data/blobs /data/pcm && tar -C /data -xf -' \
    <"$from/blobs.tar"
docker compose run --rm -T --no-deps --entrypoint sh redis -c 'rm -rf /data/appendonlydir && tar -C /data -xf -' \
    <"$from/ledger.tar"
docker compose up -d --no-build
