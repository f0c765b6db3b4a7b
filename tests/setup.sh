# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# What tests/run.sh and tests/demo.sh share: the right machine, the packages, a build. To be sourced.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
builds=${PLUGD_BUILDS:-$root/build-tests}

export LC_ALL=C.UTF-8 PYTHONDONTWRITEBYTECODE=1

die() {
    printf '%s: %s\n' "$(basename "$0")" "$*" >&2
    exit 1
}

require_machine() {
    [ "$(id -u)" -eq 0 ] || die "has to run as root, to install packages: sudo $0"
    [ -f /etc/debian_version ] || die "needs Debian 12 or a system made from it: it installs packages with apt-get"
}

# One run at a time in a folder of builds; held until fd 9 is closed.
lock_builds() {
    mkdir -p "$builds"
    exec 9>"$builds/lock"
    flock -n 9 || die "another run is at work in $builds: wait for it, or set PLUGD_BUILDS to another folder"
}

# apt_get ARGUMENTS: installs, with its words in $builds/packages.log. Debian starts the services that it installs; nobody
# here has asked for a broker on port 1883.
apt_get() {
    local made_policy='' status

    if [ ! -e /usr/sbin/policy-rc.d ]; then
        printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d && chmod 755 /usr/sbin/policy-rc.d && made_policy=yes
        trap 'rm -f /usr/sbin/policy-rc.d' EXIT
        trap 'exit 130' INT TERM
    fi
    {
        apt-get -q update && DEBIAN_FRONTEND=noninteractive apt-get -q -y --no-install-recommends "$@"
    } </dev/null >"$builds/packages.log" 2>&1
    status=$?
    if [ -n "$made_policy" ]; then
        rm -f /usr/sbin/policy-rc.d
        trap - EXIT INT TERM
    fi
    return "$status"
}

# require_packages PROFILE: the Build-Depends of debian/control. Asks the network only when something is missing.
require_packages() {
    local profile=$1

    if command -v dpkg-checkbuilddeps >/dev/null && command -v c++ >/dev/null &&
        dpkg-checkbuilddeps ${profile:+-P "$profile"} "$root/debian/control" 2>/dev/null; then
        return
    fi
    echo "installing the packages that debian/control names"
    apt_get ${profile:+-P "$profile"} build-dep "$root/" || {
        tail -20 "$builds/packages.log" >&2
        die "could not install the packages that debian/control names (see $builds/packages.log)"
    }
}

# build NAME [MESON OPTION…]: into $builds/NAME.
build() {
    local folder=$builds/$1
    shift

    if [ -f "$folder/build.ninja" ]; then
        meson setup --reconfigure "$@" "$folder" "$root"
    else
        rm -rf "$folder"
        meson setup -Dtests=enabled "$@" "$folder" "$root"
    fi && meson compile --ninja-args=--quiet -C "$folder"
}
