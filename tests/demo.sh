#!/usr/bin/env bash
# What `make run` starts: an origin (weir too: its routes answer by themselves) and a gateway in front of it, until Ctrl-C.
#
#   tests/demo.sh                the demonstration: config/demo-origin.json behind config/demo.json
#   tests/demo.sh CONFIG.json    only your gateway
#
# Ctrl-C reaches every process of the terminal's foreground group, also make, which would then end with "Error 130" after a
# clean drain. So the gateway gets a process group of its own (bash -m) and with it the terminal: only it sees Ctrl-C, drains and exits
# 0, and so do this script and make. Without a terminal there is nothing to hand over: SIGINT or SIGTERM to this script drain both.
set -uo pipefail
cd "$(dirname "$0")/.."
weir=build/weir
origin=127.0.0.1:9000 gateway=127.0.0.1:8080 admin=127.0.0.1:9901   # as the two files say
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# answers ADDRESS [PATH]: with PATH, a 200 to GET PATH; without, anything that accepts a connection.
answers() {
  exec 3<>"/dev/tcp/${1%:*}/${1##*:}" || return 1
  [ -z "${2:-}" ] || { printf 'GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n' "$2" "$1" >&3
                       IFS= read -r -t 2 line <&3 && [[ $line == HTTP/1.?\ 200* ]]; }
  local result=$?
  exec 3<&- 3>&-
  return $result
} 2>/dev/null

# This script is its terminal's foreground: fields 5 and 8 of its stat (process group, the terminal's foreground group).
in_foreground() { local stat; read -ra stat </proc/$$/stat && [ "${stat[4]}" = "${stat[7]}" ]; } 2>/dev/null

# serve NAME CONFIG: runs until told to stop; its process id is left in a file for who must tell it. Its process group is its own, so
# that one Ctrl-C never arrives twice, by the terminal and by stop().
serve() {
  local run='sh -c '\''echo $$ >"$0"; exec "$@"'\'' "$@"'
  if [ "$1" = gateway ] && in_foreground; then bash -mc "$run; exit" - "$scratch/$1" $weir run "$2"
  else setsid -w bash -c "exec $run" - "$scratch/$1" $weir run "$2"; fi
}
stopping=
stop() {
  trap '' INT TERM
  stopping=yes
  [ ! -s "$scratch/gateway" ] || kill "$(cat "$scratch/gateway")"
} 2>/dev/null

introduce() {
  until answers $gateway /healthz && answers $origin /healthz; do
    sleep 0.05
  done
  local bold='' plain=''
  if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then bold=$'\033[1m' plain=$'\033[0m'; fi
  cat <<EOF

weir is in front of a small origin. In another terminal:

  ${bold}curl -i http://$gateway/hello${plain}
      200 from the origin; its RateLimit fields say what is left
  ${bold}for i in 1 2 3 4 5 6; do curl -is http://$gateway/limited | grep -iE '^(HTTP|Retry)'; done${plain}
      five pass at once, then 429 Too Many Requests; its Retry-After says when the next one fits
  ${bold}for i in 1 2 3; do curl -is http://$gateway/slow | head -1 & done; wait${plain}
      each holds one of two slots for two seconds: the third is refused

Metrics: http://$admin/metrics    Ctrl-C drains and stops.

EOF
}

if [ $# -gt 0 ]; then
  config=$1
  [ -r "$config" ] || { echo "make run: there is no file $config to read" >&2; exit 1; }
else
  config=config/demo.json
  for address in $gateway $origin $admin; do
    if answers $address; then
      echo "make run: something already listens on $address, which the demonstration needs: stop it, or run your own file with: make run CONFIG=my.json" >&2
      exit 1
    fi
  done
  serve origin config/demo-origin.json >"$scratch/origin.log" 2>&1 &
  origin_job=$!
  introduce &
  introduction=$!
fi

trap stop INT TERM
serve gateway "$config" <&0 &
gateway_job=$!
wait $gateway_job
status=$?
if [ -n "$stopping" ]; then wait $gateway_job; status=$?; fi   # the signal had ended the first wait, not the drain

if [ $# -eq 0 ]; then
  kill $introduction 2>/dev/null
  kill "$(cat "$scratch/origin")" 2>/dev/null || cat "$scratch/origin.log" >&2
  wait $origin_job || status=$?
fi
exit $status
