#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# sudo tests/bench.sh [ROW…] [--runs N] [--quick]: measures plugd beside other programs, and prints a table. On Debian 12.
#
# Installs what is missing, builds with the flags of the Debian package, runs each row on this machine: plugd and what
# stands beside it in turn, N times (5; with --quick 1, and less of everything). Rows: drain flood memory sensors disk start
# latency; without any, all of them, which takes about 40 minutes. What they are: tests/bench/README.md. Other work on the
# machine spoils the figures. Exits 1 where something isn't reached.

set -u -o pipefail
# shellcheck source=tests/setup.sh
. "$(dirname "${BASH_SOURCE[0]}")/setup.sh"

for argument; do
    case $argument in
    -h | --help)
        sed -n '/^# sudo/,/^$/s/^# \{0,1\}//p' "$0"
        exit 0
        ;;
    esac
done

# Wanted by the bench alone, so not in debian/control.
require_bench_packages() {
    local missing=()

    [ -x /usr/sbin/collectd ] && [ -e /usr/lib/collectd/mqtt.so ] || missing+=(collectd-core)
    command -v mosquitto_pub >/dev/null || missing+=(mosquitto-clients)
    command -v mkfs.ext4 >/dev/null || missing+=(e2fsprogs)
    /usr/bin/python3 -c 'import sqlite3' 2>/dev/null || missing+=(python3)
    [ ${#missing[@]} -gt 0 ] || return 0
    echo "installing ${missing[*]}" >&2
    apt_get install "${missing[@]}" || die "could not install ${missing[*]} (see $builds/packages.log)"
}

build_as_package() (
    flags=$(cd "$root" && DEB_BUILD_MAINT_OPTIONS=hardening=+all dpkg-buildflags --export=sh) && eval "$flags" || exit 1
    if [ -f "$builds/bench/build.ninja" ]; then
        meson setup --reconfigure --buildtype=plain -Dtests=enabled "$builds/bench" "$root"
    else
        rm -rf "$builds/bench"
        meson setup --buildtype=plain -Dtests=enabled "$builds/bench" "$root"
    fi && meson compile --ninja-args=--quiet -C "$builds/bench" plugd plugd-worker plugctl sim pour writes subscriber
)

require_machine
lock_builds
require_packages ''
require_bench_packages
echo "building plugd as the Debian package does" >&2
build_as_package </dev/null >"$builds/bench-build.log" 2>&1 || {
    tail -30 "$builds/bench-build.log" >&2
    die "the build failed (see $builds/bench-build.log)"
}
exec 9>&- # others may build while this one measures
export PLUGD_BUILD=$builds/bench
exec /usr/bin/python3 "$root/tests/bench/table.py" "$@"
