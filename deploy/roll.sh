#!/bin/sh
# Puts new containers in the place of a compose service's old ones, without a gap:  deploy/roll.sh api
# (and nginx, where a balancer is before it: docker-compose.edges.yml)
#
# Twice as many run for a moment. The old ones are told to stop when every new one is healthy and nginx has had time
# to hear of it; then they finish what they have in hand. When a new one doesn't become healthy, the old ones stay.
# Where a new API changes the ledger's layout, which the old one couldn't read, it waits until that has stopped
# (api/takeover.py). Before that, uploads go to the new ones, where they wait until the old ones have received what they
# were receiving, for ROLL_UPLOADS_S (20) at most; then other requests wait too, for a second or two.
# Build before (docker compose build). COMPOSE_FILE, COMPOSE_PROJECT_NAME and COMPOSE_ENV_FILES count as always.
set -eu

service=${1:?which service? e.g. deploy/roll.sh api}
patience_s=${ROLL_PATIENCE_S:-120} uploads_s=${ROLL_UPLOADS_S:-20}
cd "$(dirname "$0")/.."

old=$(docker compose ps -q "$service")
count=$(printf '%s\n' "$old" | grep -c .) || { echo "no $service runs; docker compose up -d starts it" >&2; exit 1; }

murmur() { docker compose run --rm -T --no-deps "$service" murmur "$@"; }
step=same
if [ "$service" = api ]; then
    status=0
    step=$(murmur schema hold) || status=$?
    case $status in
        0) [ "$step" = held ] || step=same ;;
        2) step=same ;; # a release that doesn't know the command
        *) echo "$service: nothing was done" >&2; exit 1 ;;
    esac
fi

# Not --no-deps: it changes the hash by which Compose knows a container, and the next `up` would replace all of these.
docker compose up -d --no-recreate --no-build --scale "$service=$((count * 2))" "$service"
new=$(docker compose ps -q "$service" | grep -vxF "$old" || true)

ready() { # ready ID
    if [ "$step" = held ]; then
        docker exec "$1" test -e /tmp/murmur-waits
    else
        [ "$(docker inspect -f '{{.State.Health.Status}}' "$1")" = healthy ]
    fi
}
unready() { for id in $new; do ready "$id" 2>/dev/null || echo "$id"; done; }
waited=0
while [ -n "$(unready)" ]; do
    if [ "$waited" -ge "$patience_s" ]; then
        echo "$service: not healthy after $patience_s s; the old containers stay. Last words:" >&2
        for id in $(unready); do docker logs --tail 5 "$id" >&2; done
        for id in $new; do docker rm -f "$id" >/dev/null; done
        [ "$step" = same ] || murmur schema cancel
        exit 1
    fi
    sleep 1
    waited=$((waited + 1))
done

# nginx asks these alone, and everybody again at the end.
asks() { # asks [EDGE_ONLY="ADDRESS ADDRESS" [EDGE_ELSE="ADDRESS ADDRESS" [EDGE_ONLY_UPLOADS="ADDRESS ADDRESS"]]]
    [ "$service" = api ] || return 0
    for id in $(docker compose ps -q nginx); do
        docker exec -e "${1:-EDGE_ONLY=}" -e "${2:-EDGE_ELSE=}" -e "${3:-EDGE_ONLY_UPLOADS=}" "$id" \
            sh /etc/nginx/murmur/start.sh apply 2>/dev/null ||
            echo "nginx doesn't take the change; a request may fail" >&2
    done
}
networks='{{range $name, $of := .NetworkSettings.Networks}}{{$name}} {{$of.IPAddress}}{{"\n"}}{{end}}'
addresses() { docker inspect -f "$networks" "$@" | sed -n 's/^[^ ]*_front \([0-9.]*\)$/\1:8000/p' | tr '\n' ' '; }
# How many submits each old one hasn't answered, where there are any. A release that doesn't count them has none.
look='import urllib.request as u
asked = u.Request("http://127.0.0.1:8000/metrics", headers={"Accept": "text/plain"})
lines = u.urlopen(asked, timeout=4).read().decode().splitlines()
print(*(line.split()[1] for line in lines if line.startswith("murmur_submits_in_flight ")))'
receiving() { for id in $old; do docker exec "$id" python -IS -c "$look" 2>/dev/null || :; done | grep -vxE '|0(\.0)?' || :; }

# shellcheck disable=SC2086  # ids, one word each
serving=$(addresses $old) coming=$(addresses $new)
trap asks EXIT
if [ "$step" = held ]; then
    # What an old one goes on receiving beyond the step it can hand to nobody: so uploads go to the new ones, where they
    # wait until the old ones have none any more. Everything else waits for the step alone. A connection that a client keeps
    # brings one more request to a process of nginx that was told so, after the old ones have gone: then the new ones.
    asks "EDGE_ONLY=$serving" "EDGE_ELSE=$coming"
    sleep 2
    for id in $new; do docker exec "$id" touch /tmp/murmur-listen; done
    sleep 1
    asks "EDGE_ONLY=$serving" "EDGE_ELSE=$coming" "EDGE_ONLY_UPLOADS=$coming"
    waited=0
    sleep 1
    while [ -n "$(receiving)" ] && [ "$waited" -lt "$uploads_s" ]; do
        sleep 1
        waited=$((waited + 1))
    done
else
    # nginx asks a server that it couldn't reach again, and the name server, after two seconds.
    sleep 3
fi
# The new ones alone before the old ones are told to stop.
asks "EDGE_ONLY=$coming"
sleep 1
# shellcheck disable=SC2086
docker stop $old >/dev/null &
stopping=$!
if [ "$step" = held ]; then
    # The old ones take nothing more from the moment on at which they are told, and answer what they have.
    sleep 1
    # shellcheck disable=SC2086
    docker exec ${new%%[!0-9a-f]*} murmur schema release
fi
wait "$stopping"
# shellcheck disable=SC2086
docker rm $old >/dev/null
# Until nginx has heard of it from the name server.
sleep 3
echo "$service: $count new container(s) serve"
