#!/usr/bin/env bash
# Builds the Dockerfile as it stands and runs the image: without a Docker daemon (buildah, chroot isolation) and without a registry
# (debian:trixie-slim is made by debootstrap from this machine's own Debian mirror). Needs root, three minutes and 3 GB under build/.
#
#   make docker-test
set -euo pipefail
cd "$(dirname "$0")/../.."
place=$PWD/build/docker base=debian:trixie-slim
export STORAGE_DRIVER=vfs BUILDAH_ISOLATION=chroot
b() { buildah --root "$place/storage" --runroot "$place/run" "$@"; }

passed=0 failed=0
is() { # is WHAT EXPECTED ACTUAL
  if [ "$2" = "$3" ]; then echo "ok    $1"; passed=$((passed + 1))
  else printf 'FAIL  %s\n        expected: %s\n        found:    %s\n' "$1" "$2" "$3"; failed=$((failed + 1)); fi
}
server=
# The gateway itself: buildah does not pass signals on.
gateway() { pgrep -f '^(/usr/bin/)?weir run /etc/weir/container.json' | head -1; }
cleanup() {
  if [ -n "$server" ]; then kill $(gateway) "$server" 2>/dev/null || true; wait "$server" 2>/dev/null || true; fi
  b rm --all >/dev/null 2>&1 || true
  rm -rf "$place"
}
trap cleanup EXIT
[ "$(id -u)" = 0 ] || { echo "docker-test: making a base image needs root" >&2; exit 1; }
if curl -s -o /dev/null http://127.0.0.1:8080/; then echo "docker-test: something listens on port 8080, which it needs" >&2; exit 1; fi
rm -rf "$place"
mkdir -p "$place"

echo "making $base from this machine's mirror"
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Label: Debian' | sort -u | head -1)
debootstrap --variant=minbase trixie "$place/trixie" "$mirror" >"$place/debootstrap.log" 2>&1 || { tail -20 "$place/debootstrap.log"; exit 1; }
rm -rf "$place"/trixie/var/cache/apt/archives/*.deb "$place"/trixie/var/lib/apt/lists/*
container=$(b from scratch)
b add -q "$container" "$place/trixie" / >/dev/null
b commit -q "$container" "docker.io/library/$base" >/dev/null
b rm "$container" >/dev/null
rm -rf "$place/trixie"

echo "building the Dockerfile"
b build --pull=never --format docker -q -t weir . >"$place/build.log" 2>&1 || { tail -40 "$place/build.log"; exit 1; }

config_of() { b inspect --type image --format "$1" weir; }
is "the image does not run as root" "65532:65532" "$(config_of '{{.Docker.Config.User}}')"
is "its healthcheck is the binary itself" "[CMD weir healthcheck]" "$(config_of '{{.Docker.Config.Healthcheck.Test}}')"
is "it runs the configuration that answers alone" "[weir] [run /etc/weir/container.json]" \
   "$(config_of '{{.Docker.Config.Entrypoint}} {{.Docker.Config.Cmd}}')"

# chroot isolation shares this machine's network: the port must be free here.
container=$(b from --pull=never weir)
in_container() { b run ${mount:-} "$container" -- "$@"; }
serves() { # serves WHAT: starts it as the image would be, asks, stops it
  in_container weir run /etc/weir/container.json >"$place/weir.log" 2>&1 &
  server=$!
  local tries=0
  until curl -fs -o /dev/null http://127.0.0.1:8080/healthz || [ $((tries += 1)) -gt 100 ]; do sleep 0.1; done
  is "$1: a request is answered" 200 "$(curl -s -o /dev/null -w '%{http_code}' http://127.0.0.1:8080/)"
  is "$1: its healthcheck passes" 0 "$(in_container weir healthcheck >/dev/null 2>&1; echo $?)"
  local pid
  pid=$(gateway || true)
  is "$1: it is not root" 65532 "$(awk '/^Uid:/ { print $2 }' "/proc/${pid:-none}/status" 2>/dev/null)"
  kill -TERM "${pid:-$server}"
  local status=0
  wait "$server" || status=$?
  server=
  is "$1: SIGTERM drains and ends it with 0" 0 "$status"
  [ "$failed" = 0 ] || sed 's/^/        /' "$place/weir.log"
}
is "weir version runs" 0 "$(in_container weir version >/dev/null 2>&1; echo $?)"
serves "as built"
is "without weir the healthcheck fails" 1 "$(in_container weir healthcheck >/dev/null 2>&1; echo $?)"
mount="--volume $PWD/config:/etc/weir:ro" serves "with config/ mounted"

echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
