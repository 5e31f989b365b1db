#!/bin/sh
# Writes the settings of nginx, which this container has in its environment, into a file that nginx looks at while it
# runs:  settings.sh FILE
# So another setting needs no other container of nginx. Settings that can't be are refused, and the file stays.
set -eu

file=${1:?which file?}
for name in MURMUR_LIMITS__MAX_UPLOAD_BYTES MURMUR_EDGE_REQUESTS_PER_S MURMUR_EDGE_BURST MURMUR_EDGE_CONNECTIONS \
    MURMUR_EDGE_PROXIES MURMUR_HTTPS_PORT MURMUR_OPERATOR_USER MURMUR_OPERATOR_PASSWORD; do
    eval "value=\${$name:-}"
    # shellcheck disable=SC2154  # eval sets it
    printf "%s='%s'\n" "$name" "$(printf %s "$value" | sed "s/'/'\\\\''/g")"
done >"$file.new"

trial=$(mktemp -d)
EDGE_SETTINGS=$file.new sh "$(dirname "$0")/render.sh" "$trial"
mv "$file.new" "$file"
