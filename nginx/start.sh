#!/bin/sh
# nginx, whose configuration can change while it runs, without a failed request.
#
#   start.sh         runs it. SIGHUP, or another content of EDGE_SETTINGS, applies template, settings and certificates
#   start.sh apply   the same from beside it (docker compose exec nginx sh …), which says what is wrong
#   start.sh -t      only looks whether the configuration is good
#
# A configuration that nginx refuses is not applied: the one before stays.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
run=${EDGE_RUN_DIR:-/tmp/edge}
settings=${EDGE_SETTINGS:-}
# How long requests under way may take when nginx is told to quit. Nobody is served meanwhile, so it's short.
stop_s=${EDGE_STOP_S:-1}
mkdir -p "$run"

# Becomes nginx, so only in a subshell. Its own log goes to the error stream until the configuration has been read.
become() { conf=$1; shift; exec nginx -e stderr -p "$run" -c "$conf/nginx.conf" -g "daemon off; ${EDGE_GLOBALS:-}" "$@"; }

# Writes a configuration beside those before, and says where. The one in use stays, and so do the last two others: an old
# process of nginx may still look at its own.
rendered() {
    new=$(mktemp -d "$run/conf.XXXXXX") && sh "$here/render.sh" "$new" || return
    used=$(readlink "$run/nginx.conf") || used=
    # shellcheck disable=SC2012  # mktemp's names are plain
    ls -1dt "$run"/conf.* | grep -vxF "${used%/nginx.conf}" | tail -n +4 | while read -r old; do rm -rf "$old"; done
    echo "$new"
}
use() { ln -s "$1/nginx.conf" "$1/link" && mv "$1/link" "$run/nginx.conf"; }
apply() {
    found=$(rendered) && (become "$found" -t) && use "$found" && kill -HUP "$(cat "$run/nginx.pid")"
}

case ${1:-} in
    apply) apply; exit ;;
    -t) found=$(rendered); become "$found" -t ;;
esac

stamp() { [ ! -e "$settings" ] || cksum <"$settings"; }
watch() {
    while sleep 2; do
        now=$(stamp)
        [ "$now" = "$seen" ] || { seen=$now; apply || echo "the new settings are not applied" >&2; }
    done
}
quit() { kill -QUIT "$nginx"; (sleep "$stop_s"; kill -TERM "$nginx" 2>/dev/null) & }

# Who writes the settings may only just have been started.
tries=0
while [ -n "$settings" ] && [ ! -e "$settings" ] && [ "$tries" -lt 10 ]; do sleep 1; tries=$((tries + 1)); done
seen=$(stamp)
found=$(rendered)
use "$found"
become "$run" &
nginx=$!
watcher=
if [ -n "$settings" ]; then watch & watcher=$!; fi
trap 'apply || echo "the new configuration is not applied" >&2' HUP
trap quit QUIT
trap 'kill -TERM "$nginx"' TERM INT
# A signal interrupts the wait.
while :; do
    status=0
    wait "$nginx" || status=$?
    kill -0 "$nginx" 2>/dev/null || break
done
[ -z "$watcher" ] || kill "$watcher"
exit "$status"
