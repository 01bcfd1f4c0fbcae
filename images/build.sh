#!/bin/sh
# Build container images and print their names: `images/build.sh cpu gpu`. Environment variables:
#   ENGINE         docker or podman; the default is the one that works
#   BASE_IMAGE     used instead of the one in images/base.txt
#   SOURCE         address of the repository; the default is git's origin
#   CA_BUNDLE      file with the certificate authority of a proxy
#   BUILD_OPTIONS  more options of the engine, such as --platform linux/amd64 on a machine of another kind
# Both images together need 35 GB of disk while they are built.
set -eu
cd "$(dirname "$0")/.."
base=${BASE_IMAGE:-$(cat images/base.txt)}
case $base in
  *@sha256:*) ;;
  localhost/*) echo "note: the base $base is local; an image that is built on it cannot be pushed" >&2 ;;
  *)
    echo "error: the base image must be named by digest, got \"$base\". \`make -B images/base.txt\` reads it from the registry;" \
      "BASE_IMAGE=name@sha256:… uses another base, and localhost/name:tag a local one" >&2
    exit 2 ;;
esac
engine=$(images/engine.sh)
revision=$(git rev-parse HEAD 2>/dev/null || echo unknown)
# a push changes the file of digests, but no image contains this file
[ -z "$(git status --porcelain -- . ':!images/digests.json' 2>/dev/null)" ] || revision=$revision-dirty
source=$(git config --get remote.origin.url 2>/dev/null | sed 's#//[^/@]*@#//#')
version=$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
for target in "$@"; do
  name=localhost/concrete-crack-$target:$revision
  # shellcheck disable=SC2086 # options are words
  "$engine" build --file images/Dockerfile --target "$target" --tag "$name" \
    --build-arg BASE_IMAGE="$base" --build-arg REVISION="$revision" --build-arg VERSION="$version" \
    --build-arg SOURCE="${SOURCE:-${source:-unknown}}" \
    ${CA_BUNDLE:+--secret id=ca-bundle,src=$CA_BUNDLE} ${BUILD_OPTIONS:-} . >&2
  "$engine" image inspect "$name" > /dev/null # an engine that was interrupted may still end with 0
  echo "$name"
done
