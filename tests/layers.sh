#!/usr/bin/env bash
# The architecture as a test: who may include whom, who may know which library, what the linker says about purity, and
# how long a file and a function may be (docs/ARCHITECTURE.md). Prints each rule it checked and "N passed, M failed".
#
#   tests/layers.sh [LIBLIMITER.A]     default: build/release/liblimiter.a
set -uo pipefail
cd "$(dirname "$0")/.."
library=${1:-build/release/liblimiter.a}
passed=0 failed=0

# rule SENTENCE VIOLATIONS: holds when there are none.
rule() {
  if [ -z "$2" ]; then printf 'ok    %s\n' "$1"; passed=$((passed + 1))
  else printf 'FAIL  %s\n' "$1"; printf '%s\n' "$2" | sed 's/^/        /'; failed=$((failed + 1)); fi
}

# includes FILES…: "file: name" for each #include, names as written between <> or "".
includes() { grep -HoE '^[[:space:]]*#[[:space:]]*include[[:space:]]*[<"][^>"]+' "$@" 2>/dev/null | sed -E 's/:.*[<"]/: /'; }
# of_room ROOM: its headers' names, as an alternative of a regular expression.
of_room() { (cd "$1" && ls ./*.h 2>/dev/null) | sed 's|^\./||; s/\./\\./' | paste -sd'|'; }

# ---- direction: limiter <- config <- gateway ----

pure='stdint\.h|stdbool\.h|stddef\.h|stdatomic\.h|string\.h|stdlib\.h'
rule "limiter/ includes libc's pure headers and itself, nothing else" \
     "$(includes limiter/*.[ch] | grep -vE ": ($pure|$(of_room limiter))$")"
rule "config/ includes nothing of gateway/" "$(includes config/*.[ch] | grep -E ": (\.\./gateway/.*|$(of_room gateway))$")"
rule "no #include leaves its room by a path" "$(includes limiter/*.[ch] config/*.[ch] gateway/*.[ch] | grep -E ': \.\./')"

# ---- purity, as the linker sees it: memory and nothing that reads a clock, a file, a socket or a random number ----

allowed='mem(cpy|move|set|cmp|chr)|__mem(cpy|move|set)_chk|strlen|strcmp|malloc|calloc|aligned_alloc|posix_memalign|free|abort|check_failed'
allowed+='|__stack_chk_fail|_GLOBAL_OFFSET_TABLE_|__(div|mod|udiv|umod|udivmod)ti[34]|__atomic_.*_16|__aarch64_.*'
if [ -f "$library" ]; then
  own=$(nm --defined-only --extern-only "$library" | awk 'NF == 3 { print $3 }' | sort -u)
  rule "liblimiter.a calls memory functions only" \
       "$(nm -u "$library" | awk '$1 == "U" { print $2 }' | sort -u | grep -vxF -e "$own" | grep -vE "^($allowed)$")"
else
  rule "liblimiter.a calls memory functions only" "$library is not built"
fi

# ---- each library is known by one file ----

one_owner() { # one_owner LIBRARY HEADER-REGEX
  local sources
  sources=$(includes limiter/*.c config/*.c gateway/*.c | grep -E ": ($2)$" | cut -d: -f1 | sort -u)
  rule "$1 is known by one .c at most${sources:+ ($(echo $sources | tr '\n' ' ' | sed 's/ $//'))}" \
       "$([ "$(printf '%s' "$sources" | grep -c .)" -le 1 ] || echo "$sources")"
}
one_owner jansson       'jansson\.h'
one_owner libmicrohttpd 'microhttpd\.h'
one_owner hiredis       '(hiredis/)?(hiredis|async|read|sds|alloc|hiredis_ssl)\.h|hiredis/.*'
one_owner llhttp        'llhttp\.h'
one_owner gnutls        'gnutls/.*'
rule "no header of ours includes a library's, libuv's neither" \
     "$(includes limiter/*.h config/*.h gateway/*.h | grep -E ': (jansson|microhttpd|llhttp|uv|hiredis/.*|gnutls/.*)(\.h)?$')"
rule "libuv is known in gateway/ only" "$(includes limiter/*.c config/*.c | grep -E ': uv\.h$')"

# ---- size: a file is one noun, a function one screen ----

rule "no file of a room is longer than 550 lines" \
     "$(find limiter config gateway lua -name '*.[ch]' -o -name '*.lua' 2>/dev/null | xargs wc -l | awk '$2 != "total" && $1 > 550 { print $2 ": " $1 " lines" }')"
rule "no function is longer than 70 lines" "$(awk '
  FNR == 1 { start = 0 }
  /^[a-z].*\(/ { name = $0; sub(/\(.*/, "", name); sub(/.*[ *]/, "", name) }
  /^\{$/ { start = FNR }
  /^\}$/ && start { if (FNR - start > 70) print FILENAME ":" start ": " name ", " FNR - start - 1 " lines"; start = 0 }
' limiter/*.c config/*.c gateway/*.c)"
rule "every file opens with what it is" \
     "$(for file in limiter/*.[ch] config/*.[ch] gateway/*.[ch]; do head -1 "$file" | grep -qE '^/\* [a-z_]+: ' || echo "$file"; done)"

# ---- no stray rooms: everything at the top level has its place on the plan ----

plan='README.md|LICENSE|Makefile|Dockerfile|\.dockerignore|\.gitignore|\.clang-format|\.clang-tidy|\.ci|\.git|limiter|config|gateway|lua|tests|docs|build'
top_level() { git ls-files 2>/dev/null | cut -d/ -f1 | sort -u | grep . || ls -A; }   # a tarball has no git
rule "nothing stands at the top level but what the plan names" "$(top_level | grep -vxE "$plan")"

echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
