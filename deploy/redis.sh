#!/bin/sh
# In Redis' containers, where passwords are files (docker-compose.secrets.yml): the server with them, or a client.
#
#   redis.sh redis-server --OPTION…      as the command in docker-compose.yml; its passwords give way to the files'
#   redis.sh redis-cli COMMAND…          docker compose exec redis sh /etc/murmur/redis.sh redis-cli info memory
set -eu

from=${SECRETS_DIR:-/run/secrets}
password=$(cat "$from/redis_password")
program=$1
shift
if [ "$program" != redis-server ]; then
    export REDISCLI_AUTH="$password"
    exec "$program" "$@"
fi

# In a file that its owner alone may read, for everybody on the host sees a command line.
umask 077
config=${TMPDIR:-/tmp}/redis.conf
for option in "$@"; do
    case $option in
        "--requirepass "*) echo "requirepass $password" ;;
        "--user flower on "*)
            rest=${option#--user flower on }
            echo "user flower on >$(cat "$from/flower_password") ${rest#* }" ;;
        --*) echo "${option#--}" ;;
        *) echo "$option: an option must begin with --" >&2; exit 2 ;;
    esac
done >"$config"
exec redis-server "$config"
