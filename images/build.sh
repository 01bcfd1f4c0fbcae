#!/bin/sh
# Build container images: `images/build.sh cpu gpu`; prints their names. From the environment: ENGINE, BASE_IMAGE (instead
# of images/base.txt), SOURCE (the repository's address, if not git's origin), CA_BUNDLE (file; a proxy's certificate
# authority), BUILD_OPTIONS (further options of the engine, such as --platform linux/amd64 on a machine of another kind).
set -eu
cd "$(dirname "$0")/.."
base=${BASE_IMAGE:-$(cat images/base.txt)}
case $base in
  *@sha256:*) ;;
  localhost/*) echo "note: $base is a local stand-in for the base; such an image cannot be pushed" >&2 ;;
  *)
    echo "error: the base image must be named by digest, got \"$base\". \`make -B images/base.txt\` asks the registry for it;" \
      "BASE_IMAGE=name@sha256:… (or a local stand-in, localhost/name:tag) takes another" >&2
    exit 2 ;;
esac
engine=$(images/engine.sh)
revision=$(git rev-parse HEAD 2>/dev/null || echo unknown)
# the digests are written by a push, and are in no image
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
  "$engine" image inspect "$name" > /dev/null # an engine that was told to stop may end with 0 all the same
  echo "$name"
done
