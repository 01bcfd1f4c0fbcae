#!/bin/sh
# Build and push container images: `images/push.sh REGISTRY/FOLDER [cpu] [gpu]`, by default both. Write their digests into
# images/digests.json, and keep the digest of an image that is not pushed. Commands that compile for a cluster read this
# file. Environment variables: those of images/build.sh, and PUSH_OPTIONS, which has more options for the engine's push,
# such as podman's --tls-verify=false for a registry without TLS.
set -eu
cd "$(dirname "$0")/.."
registry=${1:-}
case $registry in
  "" | *@* | *://*) echo "error: expected REGISTRY=host/folder, such as ghcr.io/team, got \"$registry\"" >&2; exit 2 ;;
esac
case ${BASE_IMAGE:-} in
  localhost/*) echo "error: BASE_IMAGE is a local base, \"$BASE_IMAGE\"; unset it, or name a base by digest: name@sha256:…" >&2; exit 2 ;;
esac
shift
[ $# -gt 0 ] || set -- cpu gpu
for target in "$@"; do
  case $target in
    cpu | gpu) ;;
    *) echo "error: there is no image \"$target\"; name cpu, gpu or both" >&2; exit 2 ;;
  esac
done
engine=$(images/engine.sh)
digest_file=$(mktemp)
trap 'rm -f "$digest_file"' EXIT
push() { # TARGET; pushes the image and prints its reference with the digest from the registry
  local_name=$(images/build.sh "$1")
  repository=$registry/concrete-crack-$1
  remote=$repository:${local_name##*:}
  "$engine" tag "$local_name" "$remote"
  # shellcheck disable=SC2086 # options are words
  case $engine in
    *podman) # podman compresses while it pushes, so the local image has another digest
      "$engine" push ${PUSH_OPTIONS:-} --digestfile "$digest_file" "$remote" >&2
      echo "$repository@$(cat "$digest_file")" ;;
    *)
      "$engine" push ${PUSH_OPTIONS:-} "$remote" >&2
      "$engine" image inspect --format '{{range .RepoDigests}}{{println .}}{{end}}' "$remote" \
        | grep -m 1 "^$repository@sha256:" ;;
  esac
}
known() { # TARGET; prints the reference of the image from an earlier push
  [ ! -f images/digests.json ] || sed -n 's/.*"'"$1"'": "\([^"]*\)".*/\1/p' images/digests.json
}
cpu=$(known cpu)
gpu=$(known gpu)
for target in "$@"; do
  reference=$(push "$target")
  if [ "$target" = cpu ]; then cpu=$reference; else gpu=$reference; fi
done
separator=${cpu:+${gpu:+, }}
printf '{%s%s%s}\n' "${cpu:+\"cpu\": \"$cpu\"}" "$separator" "${gpu:+\"gpu\": \"$gpu\"}" > images/digests.json
cat images/digests.json
