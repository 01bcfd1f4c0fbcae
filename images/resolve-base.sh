#!/bin/sh
# Print the base image with its current digest in the registry.
set -eu
cd "$(dirname "$0")/.."
tag=docker.io/library/python:3.11-slim-bookworm
ask() {
  if command -v skopeo >/dev/null; then
    skopeo inspect --raw "docker://$tag" | sha256sum | sed 's/^\([0-9a-f]*\).*/sha256:\1/'
  elif [ "$(images/engine.sh)" = docker ]; then
    docker buildx imagetools inspect "$tag" --format '{{.Manifest.Digest}}'
  else
    podman pull --quiet "$tag" >/dev/null && podman image inspect --format '{{.Digest}}' "$tag"
  fi
}
digest=$(ask) || digest=
# the sha256 of empty input means that skopeo failed
empty=sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
if ! printf '%s' "$digest" | grep -qx 'sha256:[0-9a-f]\{64\}' || [ "$digest" = "$empty" ]; then
  echo "error: the registry gave no digest for $tag; check the connection, or set BASE_IMAGE=name@sha256:… to a base that you trust" >&2
  exit 1
fi
echo "$tag@$digest"
