#!/bin/sh
# Print the container engine to use: $ENGINE, docker if its daemon answers, or podman.
set -eu
if [ -n "${ENGINE:-}" ]; then
  echo "$ENGINE"
elif docker info >/dev/null 2>&1; then
  echo docker
elif command -v podman >/dev/null; then
  echo podman
else
  echo "error: no container engine: docker's daemon does not answer and podman is not installed; install one, or set ENGINE" >&2
  exit 1
fi
