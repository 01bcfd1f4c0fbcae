#!/bin/sh
# Build container images and print their names: `images/build.sh cpu gpu`. While it builds, it needs 35 GB of disk for
# both. Environment variables:
#   ENGINE         docker or podman; the default is the one that works
#   BASE_IMAGE     used instead of the one in images/base.txt: NAME@sha256:…, or localhost/NAME:TAG for a stand-in that is
#                  only on this machine. An image on a local base cannot be pushed; images/push.sh --help says how
#   SOURCE         address of the repository; the default is git's origin
#   CA_BUNDLE      file with the certificate authority of a proxy between the build and the package index
#   BUILD_OPTIONS  more options of the engine, such as --platform linux/amd64 on a machine of another kind,
#                  --network=host for a proxy on this machine, or --tls-verify=false of podman for a base image from a
#                  registry without TLS
set -eu
case ${1:-} in
  -h | --help) sed -n '2,/^set -eu/s/^# \{0,1\}//p' "$0"; exit ;;
  "") echo "error: name the images to build: cpu, gpu or both; images/build.sh --help lists the options" >&2; exit 2 ;;
esac
cd "$(dirname "$0")/.."
for target in "$@"; do
  case $target in
    cpu | gpu) ;;
    *) echo "error: there is no image \"$target\"; name cpu, gpu or both" >&2; exit 2 ;;
  esac
done
if [ -n "${CA_BUNDLE:-}" ] && [ ! -f "$CA_BUNDLE" ]; then
  echo "error: CA_BUNDLE names $CA_BUNDLE, which is not a file; give the path of the certificates in PEM form, or unset it" >&2
  exit 2
fi
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
