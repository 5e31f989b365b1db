#!/bin/sh
# Names the images of others by their digests, so that nobody can put another one under the same tag:  deploy/pin.sh
#
# In Compose's, Kubernetes', the chart's and Docker's files; run it again for what the tags stand for by then. Nothing is changed when
# a registry can't be asked. DOCKER is the command that asks (docker).
set -eu
cd "$(dirname "$0")/.."

chart=deploy/helm/murmuration/values.yaml
files="$(ls docker-compose*.yml Dockerfile.* deploy/kubernetes/*/murmuration.yaml) $chart"
named() {
    {
        sed -n -e 's/^ *image: *\([^ ${]*\).*/\1/p' -e 's/^FROM *\([^ $]*\).*/\1/p' \
            -e 's/.*dockerfile_inline: "FROM *\([^ $"]*\).*/\1/p' $files | sed 's/@sha256:.*//'
        sed -n 's/.*repository: \([^ ,]*\), tag: \([^ ,"]*\), digest: .*/\1:\2/p' "$chart"
    } | sort -u
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
: >"$work/changes"
for image in $(named); do
    # Ours, wherever they are kept.
    case $image in murmuration-* | */murmuration-*) continue ;; esac
    # Without a tag it is a stage of the file, or no image that could be looked up.
    case $image in *:*) ;; *) continue ;; esac
    digest=$("${DOCKER:-docker}" buildx imagetools inspect "$image" --format '{{.Manifest.Digest}}') || digest=
    case $digest in sha256:????????????????????????????????????????????????????????????????) ;;
        *) echo "$image: its registry gives no digest; nothing is changed" >&2; exit 1 ;;
    esac
    echo "$image $digest"
    # The dot is the only sign of a name that means something else to sed.
    name=$(printf '%s' "$image" | sed 's/\./\\./g')
    for before in 'image: *' 'FROM *'; do
        printf '%s\n' "s!\($before\)$name\(@sha256:[0-9a-f]*\)\{0,1\}\([ \"].*\)\{0,1\}\$!\1$image@$digest\3!"
    done >>"$work/changes"
    printf '%s\n' "s!\(repository: ${name%:*}, tag: ${name##*:}, digest: \)\"[^\"]*\"!\1\"$digest\"!" >>"$work/changes"
done
for file in $files; do
    sed -f "$work/changes" "$file" >"$work/new"
    cmp -s "$work/new" "$file" || cat "$work/new" >"$file"
done
