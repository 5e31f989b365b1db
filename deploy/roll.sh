#!/bin/sh
# Puts new containers in the place of a compose service's old ones, without a gap:  deploy/roll.sh api
#
# Twice as many run for a moment. The old ones are told to stop when every new one is healthy and nginx has had time
# to hear of it; then they finish what they have in hand. When a new one doesn't become healthy, the old ones stay.
# Build before (docker compose build). COMPOSE_FILE, COMPOSE_PROJECT_NAME and COMPOSE_ENV_FILES count as always.
set -eu

service=${1:?which service? e.g. deploy/roll.sh api}
patience_s=${ROLL_PATIENCE_S:-120}
cd "$(dirname "$0")/.."

old=$(docker compose ps -q "$service")
count=$(printf '%s\n' "$old" | grep -c .) || { echo "no $service runs; docker compose up -d starts it" >&2; exit 1; }

# Not --no-deps: it changes the hash by which Compose knows a container, and the next `up` would replace all of these.
docker compose up -d --no-recreate --no-build --scale "$service=$((count * 2))" "$service"
new=$(docker compose ps -q "$service" | grep -vxF "$old" || true)

unhealthy() {
    for id in $new; do
        [ "$(docker inspect -f '{{.State.Health.Status}}' "$id")" = healthy ] || echo "$id"
    done
}
waited=0
while [ -n "$(unhealthy)" ]; do
    if [ "$waited" -ge "$patience_s" ]; then
        echo "$service: not healthy after $patience_s s; the old containers stay. Last words:" >&2
        for id in $(unhealthy); do docker logs --tail 5 "$id" >&2; done
        for id in $new; do docker rm -f "$id" >/dev/null; done
        exit 1
    fi
    sleep 1
    waited=$((waited + 1))
done

# Longer than nginx believes an answer of the name server.
sleep 3
# shellcheck disable=SC2086  # ids, one word each
docker stop $old >/dev/null
# shellcheck disable=SC2086
docker rm $old >/dev/null
echo "$service: $count new container(s) serve"
