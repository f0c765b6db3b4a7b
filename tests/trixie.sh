#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# tests/trixie.sh [build|test]: builds the tree in a Debian 13 root, with warnings as errors, and runs its unit tests
# there; without an argument both. Debian 13 has libgpiod 2, libconfig 1.7, json-c 0.18, mosquitto 2.0.21, OpenSSL 3.5,
# glibc 2.41 and gcc 14. The checks are left out: they read the source, which is the same.
#
# Needs root, for the mounts; the first run needs the network. The root stays as it is: the checkout and the build are
# mounted into it, and the mounts and every process end with the command.

set -u -o pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tests/setup.sh
. "$here/setup.sh"
# shellcheck source=tests/lab/root.sh
. "$here/lab/root.sh"

# The command in the Debian 13 root. /tmp is a folder on disk, as some tests want to tell it from memory.
# shellcheck disable=SC2016
mounts='
    set -e
    debian=$1 source=$2 build=$3 temporary=$4
    shift 4
    mount --bind "$debian" "$debian"
    mount -o remount,bind,ro "$debian"
    mount -t proc proc "$debian/proc"
    mount --rbind /sys "$debian/sys"
    mount --rbind /dev "$debian/dev"
    mount -t tmpfs tmpfs "$debian/dev/shm"
    mount -t tmpfs tmpfs "$debian/run"
    mount -t tmpfs tmpfs "$debian/mnt"
    mount --bind "$temporary" "$debian/tmp"
    mkdir "$debian/mnt/source" "$debian/mnt/build"
    mount --bind "$source" "$debian/mnt/source"
    mount -o remount,bind,ro "$debian/mnt/source"
    mount --bind "$build" "$debian/mnt/build"
    # Not by exec: this shell stays, as the init that orphans need.
    chroot "$debian" /usr/bin/env -i PATH=/usr/sbin:/usr/bin HOME=/tmp LC_ALL=C.UTF-8 PYTHONDONTWRITEBYTECODE=1 \
        CC=gcc "$@" || exit
    exit 0
'

in_root() {
    local temporary=$builds/trixie-tmp status

    rm -rf --one-file-system "$temporary"
    mkdir -m 1777 "$temporary" || return
    setpriv --pdeathsig KILL unshare --mount --pid --fork --kill-child bash -c "$mounts" trixie \
        "$debian" "$root" "$builds/trixie" "$temporary" "$@"
    status=$?
    rm -rf --one-file-system "$temporary"
    return $status
}

trixie_build() {
    local folder=$builds/trixie

    # Other packages, other headers: their dates don't tell.
    if [ "$(cat "$folder/root" 2>/dev/null)" != "$debian" ]; then
        rm -rf "$folder"
        mkdir -p "$folder"
    fi
    if [ -f "$folder/build.ninja" ]; then
        in_root meson setup --reconfigure -Dwerror=true /mnt/build /mnt/source
    else
        in_root meson setup -Dtests=enabled -Dwerror=true /mnt/build /mnt/source
    fi && echo "$debian" >"$folder/root" && in_root meson compile --ninja-args=--quiet -C /mnt/build
}

trixie_test() {
    # Without pytest or mosquitto there, this one would just not be.
    in_root meson test -C /mnt/build --no-rebuild --list 2>/dev/null | grep platform >/dev/null ||
        die "the tests of the platform's stand-in are missing: the Debian 13 root lacks pytest or mosquitto"
    in_root meson test -C /mnt/build --no-rebuild --print-errorlogs --no-suite checks
}

case ${1:-} in
'' | build | test) ;;
*) die "unknown argument '$1'; it takes build or test" ;;
esac
require_machine
# tests/run.sh has locked the builds, and passed the lock on.
[ /proc/self/fd/9 -ef "$builds/lock" ] || lock_builds
debian=$(root_build trixie) || exit 1
# The cache doesn't remove a root that somebody uses.
exec {used}<"$(dirname "$debian")"
flock -s "$used"

if [ "${1:-build}" = build ]; then
    trixie_build || exit
fi
if [ "${1:-test}" = test ]; then
    trixie_test || exit
fi
