#!/bin/sh
# Print the base image by the digest that its registry has for it now.
set -eu
tag=docker.io/library/python:3.11-slim-bookworm
engine=$(images/engine.sh)
if command -v skopeo >/dev/null; then
  digest=$(skopeo inspect --raw "docker://$tag" | sha256sum | sed 's/^\([0-9a-f]*\).*/sha256:\1/')
elif [ "$engine" = docker ]; then
  digest=$(docker buildx imagetools inspect "$tag" --format '{{.Manifest.Digest}}')
else
  podman pull --quiet "$tag" >/dev/null
  digest=$(podman image inspect --format '{{.Digest}}' "$tag")
fi
case $digest in
  sha256:????????????????????????????????????????????????????????????????) echo "$tag@$digest" ;;
  *) echo "error: the registry gave no digest for $tag" >&2; exit 1 ;;
esac
