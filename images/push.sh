#!/bin/sh
# Build and push container images: `images/push.sh REGISTRY/FOLDER [cpu] [gpu]`, by default both. Write their digests into
# images/digests.json, and keep the digest of an image that is not pushed. Commands that compile for a cluster read this
# file.
# Log in first (docker login, podman login). Environment variables: those of images/build.sh, and
#   PUSH_OPTIONS   more options of the engine's push, such as --tls-verify=false of podman for a registry without TLS.
#                  docker has no such option: list the registry under "insecure-registries" in its daemon.json
#
# Where the base image cannot be pulled, push a stand-in to the registry and name it by its digest, for example:
#   podman push --tls-verify=false --digestfile digest localhost/python:3.11-slim localhost:5000/crack/python
#   make images-push REGISTRY=localhost:5000/crack BASE_IMAGE=localhost:5000/crack/python@$(cat digest) \
#     BUILD_OPTIONS=--tls-verify=false PUSH_OPTIONS=--tls-verify=false
set -eu
case ${1:-} in
  -h | --help) sed -n '2,/^set -eu/s/^# \{0,1\}//p' "$0"; exit ;;
esac
cd "$(dirname "$0")/.."
registry=${1:-}
case $registry in
  "" | *@* | *://*)
    echo "error: expected REGISTRY=host/folder, such as ghcr.io/team or localhost:5000/team, got \"$registry\"; write it" \
      "without https:// or http://. For a registry without TLS see images/push.sh --help" >&2
    exit 2 ;;
esac
case ${BASE_IMAGE:-} in
  localhost/*)
    echo "error: BASE_IMAGE is a local base, \"$BASE_IMAGE\", which no other machine has. Push it to $registry and name it by" \
      "its digest, BASE_IMAGE=$registry/NAME@sha256:… (images/push.sh --help shows how), or unset BASE_IMAGE" >&2
    exit 2 ;;
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
        | grep -m 1 "^$repository@sha256:" || {
        echo "error: $engine shows no digest of $remote after the push; check that the registry keeps it, or push with" \
          "ENGINE=podman" >&2
        exit 1
      } ;;
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
