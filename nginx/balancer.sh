#!/bin/sh
# Hands connections on to several nginx, whole (docker-compose.edges.yml):  balancer.sh [-t]
# They come and go by their name, like replicas of the API. The PROXY protocol tells them who the client is; what can be
# known of a request they know, so nothing is logged or limited here.
set -eu

run=${EDGE_RUN_DIR:-/tmp/edge}
resolver=${EDGE_RESOLVER:-$(sed -n 's/^nameserver[ \t]*//p' /etc/resolv.conf | head -n 1)}
case $resolver in *:*:*) resolver="[$resolver]" ;; esac
# Names, which are followed, or addresses; several are separated by spaces.
http=${EDGE_NGINX:-nginx:8082} https=${EDGE_NGINX_HTTPS:-nginx:8444}
servers() {
    for server in $1; do
        case $server in *[!0-9.:]*) follow=' resolve' ;; *) follow='' ;; esac
        echo "        server $server$follow max_fails=1 fail_timeout=2s;"
    done
}
modules=$(nginx -V 2>&1 | sed -n 's/.*--modules-path=\([^ ]*\).*/\1/p')
module=$modules/ngx_stream_module.so
mkdir -p "$run"
cat >"$run/balancer.conf" <<CONF
$([ ! -e "$module" ] || echo "load_module $module;")
worker_processes auto;
worker_rlimit_nofile 16384;
# A connection lasts as long as what comes over it.
worker_shutdown_timeout 1s;
pid $run/nginx.pid;
error_log stderr warn;
events {
    worker_connections 16384;
}
stream {
    # One address, one nginx: what limits it stands there. Of IPv6 the first four groups, as nginx counts (its template).
    map \$remote_addr \$neighbour {
        default \$remote_addr;
        "~^::ffff:" \$remote_addr;
        "~^(?<groups>(?:[0-9a-f]+:){4})" \$groups;
        "~^(?<groups>(?:[0-9a-f]+:){0,4}:)" \$groups;
    }
    resolver $resolver valid=2s ipv6=off;
    resolver_timeout 2s;
    upstream http {
        zone http 128k;
        hash \$neighbour consistent;
$(servers "$http")
    }
    upstream https {
        zone https 128k;
        hash \$neighbour consistent;
$(servers "$https")
    }
    proxy_protocol on;
    proxy_buffer_size 64k;
    proxy_connect_timeout 1s;
    # One that can't be reached is passed over; a connection that was handed on stays where it is.
    proxy_next_upstream on;
    proxy_next_upstream_timeout 5s;
    # Longer than nginx waits for anything.
    proxy_timeout 3700s;
    proxy_socket_keepalive on;
    server {
        listen ${EDGE_LISTEN:-8080} so_keepalive=on;
        proxy_pass http;
    }
    server {
        listen ${EDGE_HTTPS_LISTEN:-8443} so_keepalive=on;
        proxy_pass https;
    }
}
CONF
exec nginx -e stderr -p "$run" -c "$run/balancer.conf" -g "daemon off; ${EDGE_GLOBALS:-}" "$@"
