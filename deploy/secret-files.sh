#!/bin/sh
# Writes the stack's passwords into files for docker-compose.secrets.yml:  deploy/secret-files.sh
#
# A password that .env holds moves into its file, so that what runs keeps it; one that is nowhere is made up. A file that
# is there stays. Only the owner can enter secrets/; the files themselves are read by the users of several containers.
set -eu
cd "$(dirname "$0")/.."

(umask 077 && mkdir -p secrets)
chmod 700 secrets
moved=
for name in redis flower operator grafana; do
    variable=MURMUR_$(echo "$name" | tr '[:lower:]' '[:upper:]')_PASSWORD
    file=secrets/${name}_password
    found=$(sed -n "s/^$variable=//p" .env 2>/dev/null | tail -n 1)
    if [ ! -s "$file" ]; then
        # Grafana's is the operator's where it has none of its own.
        if [ -z "$found" ] && [ "$name" = grafana ]; then found=$(cat secrets/operator_password); fi
        [ -n "$found" ] || found=$(od -An -N24 -tx1 /dev/urandom | tr -d ' \n')
        printf '%s' "$found" >"$file"
        chmod 644 "$file"
        echo "$file is written"
    fi
    moved="$moved${moved:+|}$variable"
done
if grep -qsE "^($moved)=." .env; then
    cp -p .env .env.part
    grep -vE "^($moved)=" .env >.env.part || :
    mv .env.part .env
    echo "the passwords are no longer in .env"
fi
echo "now: COMPOSE_FILE=docker-compose.yml:docker-compose.secrets.yml in .env, and deploy/upgrade.sh --gap"
