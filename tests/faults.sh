#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# tests/faults.sh [--full] [PYTEST ARGUMENTS]: plugd under faults, with figures. Builds it and runs tests/faults: kill -9 at
# random moments and at each write of the spool, a server and a network that fail in all ways, and a soak. Each proves
# that nothing is lost. Needs root on Debian 12. The short form takes some 4 minutes and is part of tests/run.sh.
#
#     --full          200 kills, every call of the spool, outages of 45 s with the default times, an hour's soak; and in the
#                     lab (tests/lab.sh) 30 power cuts, a bad network, a clock that jumps
#     --seed N        repeats the random choices of an earlier run
#     --seconds N     how long the soak takes

set -u -o pipefail
# shellcheck source=tests/setup.sh
. "$(dirname "${BASH_SOURCE[0]}")/setup.sh"

arguments=() full=''
for argument; do
    case $argument in
    -h | --help)
        sed -n '/^# tests.faults.sh/,/^$/s/^# \{0,1\}//p' "$0"
        exit 0
        ;;
    --full) full=yes arguments+=(--full --timeout=7200) ;;
    *) arguments+=("$argument") ;;
    esac
done

require_machine
# tests/run.sh has locked the builds, and passed the lock on.
[ /proc/self/fd/9 -ef "$builds/lock" ] || lock_builds
require_packages ''
CC=gcc build gcc -Dwerror=true </dev/null >"$builds/faults-build.log" 2>&1 || {
    tail -30 "$builds/faults-build.log" >&2
    die "the build failed (see $builds/faults-build.log)"
}
cd "$root" || exit 1
export PLUGD_BUILD=$builds/gcc PLUGD_PLATFORM=$builds/gcc/tests/platform
/usr/bin/python3 -m pytest tests/faults "${arguments[@]}"
status=$?
if [ -n "$full" ]; then
    exec 9>&-
    tests/lab.sh test --full tests/lab/test_power.py tests/lab/test_netem.py tests/lab/test_clock.py || status=1
fi
exit "$status"
