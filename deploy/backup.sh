#!/bin/sh
# Takes a backup of the running compose stack, and reads it back:  deploy/backup.sh DIRECTORY
#
# DIRECTORY gets backup.tar, which its owner alone may read: the ledger as it is at one moment, and the recordings that
# its jobs need. Nothing in the stack is paused or changed, so nothing is left behind when this is interrupted.
# The service `backup` does the same on a schedule: docs/deployment.md.
set -eu

into=${1:?where to? e.g. deploy/backup.sh backups/$(date +%F)}
umask 077
mkdir -p "$into"
into=$(cd "$into" && pwd)
cd "$(dirname "$0")/.."
[ ! -e "$into/backup.tar" ] || { echo "$into holds a backup already" >&2; exit 2; }

part=$into/.backup.tar.part
child=
ended() { [ -z "$child" ] || kill "$child" 2>/dev/null || :; rm -f "$part"; }
# dash runs a trap of EXIT at a plain exit only, so each signal has its own.
trap ended EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM
# In the background, for a shell hears of a signal only when what it waits for in the foreground has ended.
waited() { child=$!; wait "$child" || { child=; echo "the backup in $into isn't whole" >&2; exit 1; }; child=; }

# Encrypted, where the API's settings name keys (MURMUR_ENCRYPTION__KEY_FILE).
docker compose exec -T api murmur backup create - >"$part" </dev/null &
waited
docker compose exec -T api murmur backup verify --record - <"$part" &
waited
mv "$part" "$into/backup.tar"
echo "saved in $into/backup.tar: $(du -h "$into/backup.tar" | cut -f 1)"
