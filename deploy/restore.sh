#!/bin/sh
# Puts a backup into a compose stack and starts it:  deploy/restore.sh FILE|DIRECTORY
#
# Whatever the stack holds is replaced. A directory holds backup.tar, or ledger.tar and blobs.tar of an earlier version.
set -eu

from=${1:?from where? e.g. deploy/restore.sh backups/2026-01-31}
from=$(cd "$(dirname "$from")" && pwd)/$(basename "$from")
cd "$(dirname "$0")/.."
if [ -d "$from" ] && [ -s "$from/backup.tar" ]; then from=$from/backup.tar; fi
if [ -f "$from" ]; then
    ledger=$from blobs=$from
elif [ -s "$from/ledger.tar" ] && [ -s "$from/blobs.tar" ]; then
    ledger=$from/ledger.tar blobs=$from/blobs.tar
else
    echo "$from is no backup, and holds neither backup.tar nor ledger.tar and blobs.tar" >&2
    exit 2
fi

# A backup that isn't whole, or holds what none of ours does, is found before anything is touched.
verified() { docker compose run --rm -T --no-deps --entrypoint murmur api backup verify "$@" -; }
opened() { docker compose run --rm -T --no-deps --entrypoint python api -m transcription.encryption.stream open <"$1"; }
if [ "$ledger" = "$blobs" ]; then
    verified <"$from"
else
    verified --earlier <"$ledger"
    verified --earlier <"$blobs"
fi

# On a Mac the worker isn't among them.
running=$(docker compose config --services | grep -xE 'nginx|api|worker|redis')
# shellcheck disable=SC2086  # names, one word each
docker compose stop $running
opened "$blobs" |
    docker compose run --rm -T --no-deps --entrypoint sh api -c 'rm -rf /data/blobs /data/pcm && tar -C /data -xf - blobs'
opened "$ledger" |
    docker compose run --rm -T --no-deps --entrypoint sh redis -c 'rm -rf /data/appendonlydir && tar -C /data -xf - appendonlydir'
docker compose up -d --no-build
