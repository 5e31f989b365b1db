#!/bin/sh
# Brings the running compose stack to the code that is checked out and the settings in .env, or back to the version before:
#
#   deploy/upgrade.sh [--no-build] [--gap]
#   deploy/upgrade.sh --back [--gap]
#   deploy/upgrade.sh --back --restore BACKUP
#
# Builds the images, which are tagged by version and commit, replaces the API's replicas (deploy/roll.sh), then whatever
# else has changed, and has nginx and Prometheus read their configuration again. What hasn't changed goes on. .env keeps
# the tag that runs (MURMUR_VERSION) and the one before it (MURMUR_VERSION_BEFORE). nginx and Redis are one container
# each: where their own settings or images have changed, requests fail while they are replaced, so nothing is done
# without --gap. With docker-compose.edges.yml nginx is replaced like the API, and only its balancer is one container.
# MURMUR_VERSION in the shell's environment names the tag instead, as for images that come from elsewhere.
set -eu

usage() { echo "usage: deploy/upgrade.sh [--no-build] [--gap] | --back [--gap] | --back --restore BACKUP" >&2; exit 2; }
build=yes gap=no back=no restore=
while [ $# -gt 0 ]; do
    case $1 in
        --no-build) build=no ;;
        --gap) gap=yes ;;
        --back) back=yes build=no ;;
        --restore) [ $# -gt 1 ] || usage; restore=$2; shift ;;
        *) usage ;;
    esac
    shift
done
[ -z "$restore" ] || [ "$back" = yes ] || usage
[ -z "$restore" ] || restore=$(cd "$(dirname "$restore")" && pwd)/$(basename "$restore")
cd "$(dirname "$0")/.."

id() { docker compose ps -q "$1" | head -n 1; }
# What Compose would replace: the container's settings, or its image, aren't those of the files any more.
differs() {
    has=$(docker inspect -f '{{index .Config.Labels "com.docker.compose.config-hash"}}' "$2")
    wants=$(docker compose config --hash "$1" | cut -d ' ' -f 2)
    [ "$has" = "$wants" ] || return 0
    image=$(docker inspect -f '{{.Config.Image}}' "$2")
    [ "$(docker inspect -f '{{.Image}}' "$2")" != "$(docker image inspect -f '{{.Id}}' "$image" 2>/dev/null)" ]
}
schema() { docker image inspect -f '{{index .Config.Labels "murmuration.ledger.schema"}}' "murmuration-api:$1" 2>/dev/null || :; }

# What Compose's file of variables says, and what it shall say.
file=${COMPOSE_ENV_FILES:-.env}
file=${file%%,*}
said() { sed -n "s/^$1=//p" "$file" 2>/dev/null | tail -n 1; }
say() {
    [ -e "$file" ] || (umask 077 && : >"$file")
    [ -f "$file" ] || { echo "$1=$2 can't be kept in $file; set it yourself" >&2; return 0; }
    # In one step, and with its owner's rights: the file holds passwords.
    real=$(readlink -f "$file")
    cp -p "$real" "$real.part"
    { grep -v "^$1=" "$real" || :; echo "$1=$2"; } >"$real.part"
    mv "$real.part" "$real"
}

# The version and commit that are checked out; with files that were changed, a hash of the changes.
checked_out() {
    version=$(sed -n 's/^__version__ = "\(.*\)"$/\1/p' murmur/version.py)
    commit=$(git rev-parse HEAD 2>/dev/null) || { echo "$version"; return; }
    parts="LICENSE Dockerfile.api Dockerfile.worker requirements api worker murmur transcription demo web clients"
    # shellcheck disable=SC2086  # names, one word each
    if git diff --quiet HEAD -- $parts; then changes=; else changes=-$(git diff HEAD -- $parts | git hash-object --stdin | cut -c 1-8); fi
    echo "$version-$(echo "$commit" | cut -c 1-12)$changes"
}

running=$(id api)
[ -n "$running" ] || { echo "no api runs; docker compose up -d starts it" >&2; exit 1; }
before=$(docker inspect -f '{{.Config.Image}}' "$running")
case $before in *:*) before=${before##*:} ;; *) before=latest ;; esac
if [ "$back" = yes ]; then
    MURMUR_VERSION=$(said MURMUR_VERSION_BEFORE)
    [ -n "$MURMUR_VERSION" ] || { echo "$file names no MURMUR_VERSION_BEFORE: there is nothing to go back to" >&2; exit 3; }
elif [ "$build" = yes ]; then
    MURMUR_VERSION=${MURMUR_VERSION:-$(checked_out)}
else
    MURMUR_VERSION=${MURMUR_VERSION:-$(said MURMUR_VERSION)}
    MURMUR_VERSION=${MURMUR_VERSION:-latest}
fi
MURMUR_COMMIT=$(git rev-parse HEAD 2>/dev/null) || MURMUR_COMMIT=
export MURMUR_VERSION MURMUR_COMMIT

if [ "$build" = no ]; then
    for image in $(docker compose config --images | grep '^murmuration-' | sort -u); do
        docker image inspect "$image" >/dev/null 2>&1 && continue
        echo "there is no image $image; nothing was done" >&2
        exit 3
    done
fi
if [ -n "$restore" ]; then
    say MURMUR_VERSION_BEFORE "$before"
    say MURMUR_VERSION "$MURMUR_VERSION"
    exec deploy/restore.sh "$restore"
fi

gaps= rolled=api
services=$(docker compose config --services)
there() { printf '%s\n' "$services" | grep -qx "$1" && [ -n "$(id "$1")" ]; }
for service in nginx balancer redis redis-cache; do
    there "$service" && differs "$service" "$(id "$service")" || continue
    if [ "$service" = nginx ] && there balancer; then rolled="api nginx"; else gaps="$gaps $service"; fi
done
if [ -n "$gaps" ] && [ "$gap" = no ]; then
    echo "these would be replaced, and requests fail meanwhile:$gaps. deploy/upgrade.sh --gap does it; nothing was done" >&2
    exit 3
fi

# A balancer that runs keeps the image that it was made with.
others=
if there balancer; then others=$(printf '%s\n' "$services" | grep -vx balancer); fi
# shellcheck disable=SC2086  # names, one word each
[ "$build" = no ] || docker compose build $others

# Which schema version the ledger has, and which one this version writes. An older version can't read a newer one's.
has=$(schema "$before") writes=$(schema "$MURMUR_VERSION")
if [ "$has" != "$writes" ]; then
    if [ "$back" = yes ] && [ "${writes:-0}" -lt "${has:-0}" ]; then
        echo "$MURMUR_VERSION reads the ledger up to schema version ${writes:-unknown}, and $before has made it $has; nothing" \
            "was done. deploy/upgrade.sh --back --restore BACKUP goes back to what a backup of the time before holds:" \
            "what came since is lost. deploy/upgrade.sh made one in backups/ when it changed the schema" >&2
        exit 3
    fi
    [ "$back" = yes ] || deploy/backup.sh "backups/before-$MURMUR_VERSION-$(date -u +%Y%m%dT%H%M%SZ)"
fi

edge=$(id nginx)
for service in $rolled; do deploy/roll.sh "$service"; done
[ "$before" = "$MURMUR_VERSION" ] || say MURMUR_VERSION_BEFORE "$before"
say MURMUR_VERSION "$MURMUR_VERSION"
docker compose up -d --no-build

# A container that was replaced has read its configuration already.
if [ -n "$edge" ] && [ "$(id nginx)" = "$edge" ]; then
    # Says what is wrong with the new one, and nginx keeps what it has.
    for container in $(docker compose ps -q nginx); do docker exec "$container" sh /etc/nginx/murmur/start.sh apply; done
fi
for service in prometheus alertmanager; do
    [ -z "$(id $service)" ] || docker compose kill -s HUP $service
done
echo "upgraded: $MURMUR_VERSION runs, before it $before"
