#!/bin/sh
# Brings the running compose stack to the code that is checked out and the settings in .env:  deploy/upgrade.sh
#
#   deploy/upgrade.sh [--no-build] [--gap]
#
# Builds the images, replaces the API's replicas (deploy/roll.sh), then whatever else has changed, and has nginx and
# Prometheus read their configuration again. What hasn't changed goes on. nginx and Redis are one container each: where
# their own settings or images have changed, requests fail while they are replaced, so nothing is done without --gap.
set -eu

build=yes gap=no
for word in "$@"; do
    case $word in
        --no-build) build=no ;;
        --gap) gap=yes ;;
        *) echo "usage: deploy/upgrade.sh [--no-build] [--gap]" >&2; exit 2 ;;
    esac
done
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

gaps=
services=$(docker compose config --services)
for service in nginx redis redis-cache; do
    printf '%s\n' "$services" | grep -qx "$service" || continue
    running=$(id "$service")
    if [ -n "$running" ] && differs "$service" "$running"; then gaps="$gaps $service"; fi
done
if [ -n "$gaps" ] && [ "$gap" = no ]; then
    echo "these would be replaced, and requests fail meanwhile:$gaps. deploy/upgrade.sh --gap does it; nothing was done" >&2
    exit 3
fi

[ "$build" = no ] || docker compose build
edge=$(id nginx)
deploy/roll.sh api
docker compose up -d --no-build

# A container that was replaced has read its configuration already.
if [ -n "$edge" ] && [ "$(id nginx)" = "$edge" ]; then
    # Tested first: nginx keeps what it has when there is something wrong with the new one.
    docker compose exec -T nginx sh /etc/nginx/murmur/start.sh -t
    docker compose kill -s HUP nginx
fi
[ -z "$(id prometheus)" ] || docker compose kill -s HUP prometheus
echo "upgraded"
