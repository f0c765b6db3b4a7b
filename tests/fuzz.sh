#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# tests/fuzz.sh [--merge] [SECONDS] [NAME…]: looks for inputs that break the daemon, with libFuzzer, clang and its
# address and undefined behaviour sanitizers. Each target of tests/fuzz/ (or those named) runs for SECONDS, 60 by
# default, one after the other, from its corpus in the tree. What it finds there is kept in the folder of builds, and
# used the next time; with --merge, what of it reaches more code goes into the corpus in the tree.
#
# Needs root on Debian 12, to install what is missing. Exits 1 if a target failed; the input is named.

set -u -o pipefail
# shellcheck source=tests/setup.sh
. "$(dirname "${BASH_SOURCE[0]}")/setup.sh"

merge=
seconds=60
names=()
for argument; do
    case $argument in
    --merge) merge=yes ;;
    -h | --help)
        sed -n '4,10s/^# \{0,1\}//p' "$0"
        exit 0
        ;;
    -* | '')
        echo "fuzz.sh: unknown argument '$argument'; it takes --merge, seconds, and names of targets" >&2
        exit 2
        ;;
    *[!0-9]*) names+=("$argument") ;;
    *) seconds=$argument ;;
    esac
done
if [ ${#names[@]} -eq 0 ]; then
    mapfile -t names < <(cd "$root/tests/fuzz" && printf '%s\n' fuzz-*.c | sed 's/^fuzz-//; s/\.c$//')
fi
for name in "${names[@]}"; do
    [ -f "$root/tests/fuzz/fuzz-$name.c" ] || {
        echo "fuzz.sh: there is no target '$name' in tests/fuzz" >&2
        exit 2
    }
done

require_machine
lock_builds
require_packages ''

found=$builds/fuzz-found # NAME/: inputs; crashes/: what failed; NAME.log
mkdir -p "$found/crashes"

build_targets() {
    local folder=$builds/fuzz

    if [ ! -f "$folder/build.ninja" ]; then
        rm -rf "$folder"
        CC=clang meson setup -Dtests=enabled -Dfuzz=true -Db_sanitize=address,undefined -Db_lundef=false \
            "$folder" "$root" || return
    fi
    meson compile --ninja-args=--quiet -C "$folder" fuzzers
}

build_targets </dev/null >"$builds/fuzz-build.log" 2>&1 || {
    tail -n 40 "$builds/fuzz-build.log" >&2
    die "could not build the fuzz targets (see $builds/fuzz-build.log)"
}

export ASAN_OPTIONS=detect_stack_use_after_return=1
export UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
export LSAN_OPTIONS=suppressions=$root/tests/fuzz/leaks.supp:print_suppressions=0

child=
FUZZ_FOLDER=$(mktemp -d /dev/shm/fuzz-XXXXXX) || die "could not make a folder in /dev/shm"
export FUZZ_FOLDER
trap '[ -z "$child" ] || { kill "$child" && wait "$child"; } 2>/dev/null; rm -rf "$FUZZ_FOLDER"' EXIT
trap 'exit 130' INT TERM

# dictionary NAME: the option, where there is one.
dictionary() {
    case $1 in
    config | topic | json) echo "-dict=$root/tests/fuzz/$1.dict" ;;
    credentials | descriptor | enrol) echo "-dict=$root/tests/fuzz/json.dict" ;;
    esac
}

# figure LOG NAME: one of libFuzzer's, by its name in the log.
figure() {
    sed -n "s/^stat::$2: *//p" "$1" | tail -n 1
}

# fuzz NAME: prints its row of figures.
fuzz() {
    local name=$1 log=$found/$1.log corpus=$root/tests/fuzz/corpus/$1 status=ok covered new begin=$SECONDS
    local options=(-max_total_time="$seconds" -timeout=20 -max_len=4096 -print_final_stats=1
        -artifact_prefix="$found/crashes/$name-")

    mkdir -p "$found/$name"
    [ "$name" != spool ] || options+=(-max_len=250 -len_control=0) # it is slow, and its programs are short
    # shellcheck disable=SC2046 # nothing, or one word
    "$builds/fuzz/tests/fuzz/fuzz-$name" "${options[@]}" $(dictionary "$name") "$found/$name" "$corpus" \
        </dev/null >"$log" 2>&1 &
    child=$!
    wait "$child" || status=FAILED
    child=
    ! grep -q 'Test unit written to' "$log" || status=FAILED
    covered=$(grep -oE 'cov: [0-9]+' "$log" | tail -n 1)
    new=$(figure "$log" new_units_added)
    printf '%-12s %6d s %10s %8s/s %7s %6s  %s\n' "$name" $((SECONDS - begin)) \
        "$(figure "$log" number_of_executed_units)" "$(figure "$log" average_exec_per_sec)" "${covered#cov: }" \
        "$new" "$status"
    [ "$status" = ok ] && return
    failed=yes
    grep -E 'does not hold|runtime error|ERROR: |Test unit written to' "$log" | sed 's/^/    /'
    echo "    (all of it: $log)"
}

# merge_into_corpus NAME: what covers more than the corpus does, the smallest that does.
merge_into_corpus() {
    local name=$1 corpus=$root/tests/fuzz/corpus/$1

    "$builds/fuzz/tests/fuzz/fuzz-$name" -set_cover_merge=1 -use_counters=0 -timeout=20 "$corpus" "$found/$name" \
        </dev/null >"$found/$name-merge.log" 2>&1 &
    child=$!
    wait "$child" || die "could not merge what was found for $name (see $found/$name-merge.log)"
    child=
}

failed=
printf '%-12s %8s %10s %10s %7s %6s\n' target time inputs rate covered new
for name in "${names[@]}"; do
    fuzz "$name"
    [ -z "$merge" ] || merge_into_corpus "$name"
done
[ -z "$failed" ]
