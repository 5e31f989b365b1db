#!/bin/sh
# Copies what must not be lost out of the running compose stack:  deploy/backup.sh DIRECTORY
#
# The ledger first, the recordings after it: a recording without a job is swept, a job without its recording fails.
set -eu

into=${1:?where to? e.g. deploy/backup.sh backups/$(date +%F)}
mkdir -p "$into"
into=$(cd "$into" && pwd)
cd "$(dirname "$0")/.."

# Encrypted, where the API's settings name keys (MURMUR_ENCRYPTION__KEY_FILE); else as it is.
seal() { docker compose exec -T api python -m transcription.encryption.stream seal; }
redis() { docker compose exec -T redis redis-cli "$@"; }

# While no rewrite is under way, the ledger's files only grow, and a copy is one that a crash could have left.
percentage=$(redis config get auto-aof-rewrite-percentage | tail -n 1 | tr -d '\r')
redis config set auto-aof-rewrite-percentage 0 >/dev/null
trap 'redis config set auto-aof-rewrite-percentage "$percentage" >/dev/null' EXIT
while redis info persistence | grep -q '^aof_rewrite_in_progress:1'; do sleep 1; done
# Of a pipe's commands the shell knows only how the last one ended.
rm -f "$into/failed"
{ docker compose exec -T redis tar -C /data -cf - appendonlydir || : >"$into/failed"; } | seal >"$into/ledger.tar"
{ docker compose exec -T api sh -c 'mkdir -p /data/blobs && tar -C /data -cf - blobs' || : >"$into/failed"; } |
    seal >"$into/blobs.tar"
[ ! -e "$into/failed" ] || { echo "the backup in $into isn't whole" >&2; exit 1; }
echo "saved in $into: $(du -h "$into/ledger.tar" | cut -f 1) ledger, $(du -h "$into/blobs.tar" | cut -f 1) recordings"
