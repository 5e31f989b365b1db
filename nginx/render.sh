#!/bin/sh
# Writes nginx's configuration into a directory, from nginx.conf.template and the settings:  render.sh DIRECTORY
# They stand in the environment, or in the file that EDGE_SETTINGS names (see settings.sh), which wins.
# Plain sh, sed and nginx: the image has nothing else.
set -eu

conf=$1
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
run=${EDGE_RUN_DIR:-/tmp/edge}
tls=${EDGE_TLS_DIR:-/etc/nginx/tls}
# shellcheck source=/dev/null  # written while we run
if [ -e "${EDGE_SETTINGS:-}" ]; then . "$EDGE_SETTINGS"; fi

# What is counted goes to a volume that another container reads; the edge works without it.
counted=${EDGE_COUNTED_LOG:-/dev/null}
if ! (: >>"$counted") 2>/dev/null; then
    echo "$counted can't be written: what the edge sees is not counted" >&2
    counted=/dev/null
fi

number() { # number NAME VALUE
    case $2 in ''|*[!0-9]*) echo "$1 must be a number, and is '$2'" >&2; exit 2 ;; esac
}
max_upload=${MURMUR_LIMITS__MAX_UPLOAD_BYTES:-1073741824}
rate=${MURMUR_EDGE_REQUESTS_PER_S:-100}
burst=${MURMUR_EDGE_BURST:-200}
connections=${MURMUR_EDGE_CONNECTIONS:-200}
number MURMUR_LIMITS__MAX_UPLOAD_BYTES "$max_upload"
number MURMUR_EDGE_REQUESTS_PER_S "$rate"
number MURMUR_EDGE_BURST "$burst"
number MURMUR_EDGE_CONNECTIONS "$connections"
# The longest body that the API takes: audio in base64 inside JSON. For other forms its own check is the closer one.
max_body=$((max_upload * 4 / 3 + 262144))

api=${EDGE_API:-api:8000}
resolver=${EDGE_RESOLVER:-$(sed -n 's/^nameserver[ \t]*//p' /etc/resolv.conf | head -n 1)}
case $resolver in *:*:*) resolver="[$resolver]" ;; esac

# nginx -v: «nginx version: nginx/1.26.3 (Debian)»
version=$(nginx -v 2>&1 | sed 's/.*nginx\/\([0-9.]*\).*/\1/')
at_least() { # at_least 1.27.3
    [ "$(printf '%s\n%s\n' "$1" "$version" | sort -t . -k 1,1n -k 2,2n -k 3,3n | head -n 1)" = "$1" ]
}

# From 1.27.3 on an upstream follows its name's addresses. Before, only a variable makes nginx ask again; it then
# takes the addresses in random order. Either way a request has a connection of its own: one that is kept from an
# earlier request can close under a POST, which is never sent again.
: >"$conf/upstream.conf"
if at_least 1.27.3; then
    if at_least 1.29.7; then keepalive='keepalive 0;'; else keepalive=''; fi
    cat >"$conf/upstream.conf" <<CONF
upstream api {
    zone api 256k;
    least_conn;
    server $api resolve max_fails=2 fail_timeout=2s;
    $keepalive
}
CONF
    target=api
else
    target=$api
fi

# At a reload the old processes close the connections that clients keep, under some client's next request; from 1.27.4 on
# they answer that first, and say that they close.
if at_least 1.27.4; then reload='keepalive_min_timeout 75s;'; else reload=''; fi

# These alone, while others are stopped (deploy/roll.sh): a request whose try fails while the name's addresses change
# gets 502. The name is followed meanwhile, so that it is known when this ends. EDGE_ELSE: whom to ask where none of these
# can be reached. EDGE_ONLY_UPLOADS: what brings a body goes there alone, and the rest where it went before.
only() { # only NAME "SERVER SERVER" ["SERVER SERVER"]
    echo "upstream $1 { zone $1 256k; least_conn;"
    for server in $2; do echo "server $server max_fails=0;"; done
    for server in ${3:-}; do echo "server $server max_fails=0 backup;"; done
    echo '}'
}
if [ -n "${EDGE_ONLY:-}" ]; then
    only chosen "$EDGE_ONLY" "${EDGE_ELSE:-}" >>"$conf/upstream.conf"
    target=chosen
fi
uploads=$target
if [ -n "${EDGE_ONLY_UPLOADS:-}" ]; then
    only uploads "$EDGE_ONLY_UPLOADS" >>"$conf/upstream.conf"
    uploads=uploads
fi

# Where errors of nginx's own become problems: in the server, and again in a location that has an error_page itself.
# A request that can't be read may have no path, and such a one only another path leads on, no name.
cat >"$conf/problems.conf" <<CONF
error_page 404 413 429 500 502 503 504 @problem;
error_page 400 405 408 414 431 494 501 505 /-/problem;
CONF

cat >"$conf/answer.conf" <<'CONF'
# With a body half read nginx closes the connection, and must say so: the client's next POST would be lost.
keepalive_timeout 0;
default_type application/problem+json;
add_header X-Request-ID $edge_id always;
add_header Retry-After $problem_retry always;
add_header Cache-Control no-store always;
return 200 '{"type":"urn:murmur:error:$problem_code","title":"$problem_code","status":$status,"detail":"$problem_detail","code":"$problem_code","request_id":"$edge_id"}';
CONF

# Who else may say where a client comes from: a load balancer in front, which must set X-Forwarded-For itself.
: >"$conf/proxies.conf"
if [ -n "${MURMUR_EDGE_PROXIES:-}" ]; then
    for network in $(echo "$MURMUR_EDGE_PROXIES" | tr ',' ' '); do
        case $network in *[!0-9a-fA-F.:/]*) echo "MURMUR_EDGE_PROXIES: $network is no network" >&2; exit 2 ;; esac
        echo "set_real_ip_from $network;" >>"$conf/proxies.conf"
    done
    printf '%s\n' 'real_ip_header X-Forwarded-For;' 'real_ip_recursive on;' >>"$conf/proxies.conf"
fi

# Behind a balancer of whole connections (balancer.sh): it says who the client is, on ports of its own, which nobody outside
# reaches. There nginx takes one word for an address, not two.
if [ -n "${EDGE_BALANCED:-}" ]; then
    if [ -n "${MURMUR_EDGE_PROXIES:-}" ]; then
        echo "MURMUR_EDGE_PROXIES: not with docker-compose.edges.yml, whose balancer tells nginx the address of whoever connects" >&2
        exit 2
    fi
    echo "listen ${EDGE_BALANCED_LISTEN:-8082} proxy_protocol;" >"$conf/proxies.conf"
    for network in ${EDGE_BALANCER:-10.0.0.0/8 172.16.0.0/12 192.168.0.0/16}; do
        echo "set_real_ip_from $network;" >>"$conf/proxies.conf"
    done
    echo 'real_ip_header proxy_protocol;' >>"$conf/proxies.conf"
fi

# Who may see Flower and Grafana: a file that is mounted, or one name and password, which may stand in a file, or nobody.
[ -z "${MURMUR_OPERATOR_PASSWORD_FILE:-}" ] || MURMUR_OPERATOR_PASSWORD=$(cat "$MURMUR_OPERATOR_PASSWORD_FILE")
operators=${EDGE_OPERATORS_FILE:-/etc/nginx/operators}
if [ ! -e "$operators" ] && [ -n "${MURMUR_OPERATOR_PASSWORD:-}" ]; then
    operators=$conf/operators
    (umask 077 && printf '%s:{PLAIN}%s\n' "${MURMUR_OPERATOR_USER:-operator}" "$MURMUR_OPERATOR_PASSWORD" >"$operators")
fi
if [ -e "$operators" ]; then
    cat >"$conf/operators.conf" <<CONF
auth_basic "Murmuration's operators";
auth_basic_user_file $operators;
CONF
else
    echo 'return 404;' >"$conf/operators.conf"
fi

: >"$conf/tls.conf"
hsts=''
if [ -e "$tls/tls.crt" ]; then
    if at_least 1.25.1; then http2='' on='http2 on;'; else http2=' http2' on=''; fi
    port=${MURMUR_HTTPS_PORT:-443}
    number MURMUR_HTTPS_PORT "$port"
    if [ "$port" = 443 ]; then port=''; else port=:$port; fi
    balanced=''
    [ -z "${EDGE_BALANCED:-}" ] || balanced="listen ${EDGE_BALANCED_HTTPS_LISTEN:-8444} ssl$http2 proxy_protocol;"
    hsts='add_header Strict-Transport-Security "max-age=31536000" always;'
    cat >"$conf/tls.conf" <<CONF
$hsts
# Nothing is told, and no key taken, over plain HTTP; only the health check is.
set \$plain "\$scheme \$uri";
if (\$plain = "http /-/edge") { set \$plain ""; }
if (\$plain ~ "^http ") { return 308 https://\$host$port\$request_uri; }
# Plain HTTP on the port of HTTPS.
error_page 497 =308 https://\$host$port\$request_uri;
listen ${EDGE_HTTPS_LISTEN:-8443} ssl$http2;
$balanced
$on
ssl_certificate $tls/tls.crt;
ssl_certificate_key $tls/tls.key;
ssl_protocols TLSv1.2 TLSv1.3;
ssl_session_cache shared:tls:5m;
ssl_session_timeout 1d;
ssl_session_tickets off;
CONF
fi

# A location with a header of its own has none of the server's.
[ -z "$hsts" ] || echo "$hsts" >>"$conf/answer.conf"

sed -e "s|@run@|$run|g" -e "s|@conf@|$conf|g" -e "s|@listen@|${EDGE_LISTEN:-8080}|g" -e "s|@resolver@|$resolver|g" \
    -e "s|@target@|$target|g" -e "s|@uploads@|$uploads|g" -e "s|@reload@|$reload|g" -e "s|@max_body@|$max_body|g" -e "s|@rate@|$rate|g" -e "s|@burst@|$burst|g" \
    -e "s|@connections@|$connections|g" -e "s|@flower@|${EDGE_FLOWER:-flower:5555}|g" \
    -e "s|@grafana@|${EDGE_GRAFANA:-grafana:3000}|g" -e "s|@log@|${EDGE_LOG:-/dev/stdout}|g" \
    -e "s|@counted@|$counted|g" -e "s|@status@|${EDGE_STATUS_LISTEN:-8081}|g" \
    "$here/nginx.conf.template" >"$conf/nginx.conf"
