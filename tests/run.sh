#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# tests/run.sh [--quick]: installs what is missing, builds, runs everything. Needs root on Debian 12, no terminal, and
# after the first run no network. The last line is "N passed, N failed, N skipped".
#
#     gcc        warnings are errors: unit tests, corpora of the fuzzers, checks, scenarios
#     faults     the same build under faults of all kinds, in the short form of tests/faults.sh
#     sanitize   clang, address and undefined behaviour sanitizers: unit tests, and scenarios (not with --quick)
#     trixie     gcc in a Debian 13 root, warnings are errors: unit tests (not with --quick)
#     lab        virtual machines with Debian 12 and 13, simulated hardware, plugd's package (not with --quick)

set -u -o pipefail
# shellcheck source=tests/setup.sh
. "$(dirname "${BASH_SOURCE[0]}")/setup.sh"

quick=
for argument; do
    case $argument in
    --quick) quick=yes ;;
    -h | --help)
        sed -n '4,12s/^# \{0,1\}//p' "$0"
        exit 0
        ;;
    *)
        echo "run.sh: unknown argument '$argument'; it takes --quick" >&2
        exit 2
        ;;
    esac
done

require_machine
lock_builds
results=$builds/results
rm -rf "$results"
mkdir -p "$results"
require_packages ''
cd "$root" || exit 1

# step NAME COMMAND…: a step counts as one test of its own where it has no finer result (a build).
step() {
    local name=$1 begin=$SECONDS status
    shift
    printf '== %s\n' "$name"
    if "$@" </dev/null >"$results/$name.log" 2>&1; then
        status=passed
    else
        status=failed
    fi
    printf '   %s after %d s\n' "$status" $((SECONDS - begin))
    [ "$status" = passed ] && return 0
    tail -n 60 "$results/$name.log"
    echo "   (all of it: $results/$name.log)"
    return 1
}

# counted NAME COMMAND…: the same for what counts as one test.
counted() {
    if step "$@"; then
        echo "passed $1" >>"$results/steps"
    else
        echo "failed $1" >>"$results/steps"
        return 1
    fi
}

# unit NAME [COMMAND…]: COMMAND is how, where the tests can't run in this system.
unit() {
    local name=$1
    shift

    [ $# -gt 0 ] || set -- meson test -C "$builds/$name" --no-rebuild --print-errorlogs --num-processes 4
    # The result is in the file even if a test failed; without the file nothing ran, which counts as a failure.
    rm -f "$builds/$name/meson-logs/testlog.json"
    step "$name-unit" "$@"
    cp "$builds/$name/meson-logs/testlog.json" "$results/$name-unit.json" 2>/dev/null ||
        echo "failed $name-unit" >>"$results/steps"
}

# python_tests NAME COMMAND…: COMMAND starts pytest, and takes its arguments.
python_tests() {
    local name=$1
    shift

    step "$name" "$@" -q -ra --junitxml="$results/$name.xml"
    sed -n '/^=.* figures =/,/passed/{/^=/!{/passed/!p}}' "$results/$name.log"
    [ -s "$results/$name.xml" ] || echo "failed $name" >>"$results/steps"
}

scenarios() {
    local name=$1
    shift

    python_tests "$name-scenarios" env PLUGD_BUILD="$builds/$name" PLUGD_PLATFORM="$builds/gcc/tests/platform" \
        /usr/bin/python3 -m pytest tests/scenarios "$@"
}

# lab RELEASE [TEST…]: in virtual machines.
lab() {
    local release=$1
    shift

    counted "lab-$release-build" tests/lab.sh build --release "$release" &&
        python_tests "lab-$release" tests/lab.sh test --release "$release" "$@"
}

if CC=gcc counted gcc-build build gcc -Dwerror=true; then
    unit gcc
    scenarios gcc
    python_tests faults tests/faults.sh
fi

# Leaks are looked for in the daemon alone: a worker's sandbox takes away what the leak checker needs.
export ASAN_OPTIONS=abort_on_error=0:exitcode=99:detect_stack_use_after_return=1
export UBSAN_OPTIONS=halt_on_error=1:exitcode=99:print_stacktrace=1
if CC=clang counted sanitize-build build sanitize -Dwerror=true -Db_sanitize=address,undefined -Db_lundef=false; then
    unit sanitize
    if [ -z "$quick" ]; then
        scenarios sanitize -m "not plain"
    fi
fi

if [ -z "$quick" ]; then
    counted trixie-build tests/trixie.sh build && unit trixie tests/trixie.sh test
    # All of it on Debian 12; on Debian 13 what another kernel and another libgpiod can change.
    lab bookworm
    lab trixie tests/lab/test_gpio*.py tests/lab/test_sandbox.py
fi

/usr/bin/python3 tests/count.py "$results"
