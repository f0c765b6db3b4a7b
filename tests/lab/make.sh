#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# tests/lab/make.sh PRODUCT RELEASE: makes one of the lab's products, unless it is in the cache, and prints its folder.
#
#     system      the guest: disk image, kernel, initramfs (system.sh)
#     snapshot    that guest, booted
#     package     plugd's Debian packages for the release, from this work tree
#     tools       the stand-in and what else the tests need in the guest, compiled for the release

set -u -o pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tests/lab/system.sh
. "$here/system.sh"

export LC_ALL=C.UTF-8 PYTHONDONTWRITEBYTECODE=1
source_root=$(cd "$here/../.." && pwd)

# What the tree consists of; builds, caches and version control lie beside it.
sources() {
    (
        cd "$source_root" || exit 1
        find "$@" \( -name __pycache__ -o -name .pytest_cache -o -name '.debhelper' -o -path debian/tmp -o -path debian/plugd \
            -o -path debian/plugd-dev \) -prune -o -type f ! -name '*.pyc' ! -name '*.substvars' ! -name '*.debhelper*' \
            ! -name debhelper-build-stamp ! -path debian/files -print0 | LC_ALL=C sort -z
    )
}

# copy_sources FOLDER PATH…
copy_sources() {
    local folder=$1
    shift
    sources "$@" | tar -C "$source_root" --null -T - -cf - | tar -C "$folder" -xf -
}

# sources_key EXTRA PATH…: their names, modes and contents.
sources_key() {
    local extra=$1
    shift
    {
        echo "$extra"
        cat "$here"/{make,root,cache}.sh
        sources "$@" | (cd "$source_root" && xargs -0 stat -c '%a %n')
        sources "$@" | (cd "$source_root" && xargs -0 sha256sum)
    } | lab_key
}

# in_release RELEASE FOLDER COMMAND…: in FOLDER, on this machine if it has that release, else in a root that has it.
in_release() {
    local release=$1 folder=$2 build_root
    shift 2

    if [ "$release" = "$(root_codename)" ]; then
        (cd "$folder" && exec "$@")
    else
        build_root=$(root_build "$release") || return 1
        root_run "$build_root" "$folder" "$@"
    fi
}

tree=(daemon plugins etc systemd debian meson.build meson_options.txt README.md LICENSE)

package_make() {
    local release=$1 folder=$2

    mkdir -p "$folder/build/plugd"
    copy_sources "$folder/build/plugd" "${tree[@]}"
    # As the README says.
    in_release "$release" "$folder/build" sh -c 'cd plugd && DEB_BUILD_OPTIONS=parallel=2 dpkg-buildpackage -us -uc -b -Pnocheck'
    mv "$folder"/build/*.deb "$folder/"
    rm -rf "$folder/build"
}

tools=(daemon plugins etc systemd meson.build meson_options.txt tests/meson.build tests/check-floors.py tests/check-format)
# All that meson goes into, though only some of it is built.
for file in "$source_root"/tests/*/meson.build; do
    file=${file%/meson.build}
    [ "${file##*/}" = lab ] || tools+=("tests/${file##*/}")
done
for file in tests/lab/meson.build tests/lab/cuse-i2c.c; do
    [ ! -f "$source_root/$file" ] || tools+=("$file")
done

# The targets below tests/platform, tests/plugins and tests/lab alone: not the unit tests.
tools_build() {
    meson setup -Dtests=enabled -Dbuildtype=debugoptimized build plugd
    meson introspect --targets build >targets.json
    python3 -c 'import json, os, sys
top = os.getcwd()
for target in json.load(open("targets.json")):
    place = os.path.relpath(target["defined_in"], top + "/plugd").split("/")[:2]
    if place[0] == "tests" and place[1] in ("platform", "plugins", "lab"):
        for name in target["filename"]:
            print(os.path.relpath(name, top + "/build"))' >names
    # shellcheck disable=SC2046
    ninja -C build $(cat names)
    mkdir -p tools/platform tools/plugins tools/bin
    while read -r name; do
        case $name in
        tests/platform/*.so) cp "build/$name" tools/platform/ ;;
        tests/plugins/*.so) cp "build/$name" tools/plugins/ ;;
        *) cp "build/$name" tools/bin/ ;;
        esac
    done <names
}

tools_make() {
    local release=$1 folder=$2

    mkdir -p "$folder/build/plugd"
    copy_sources "$folder/build/plugd" "${tools[@]}"
    in_release "$release" "$folder/build" bash -euo pipefail -c "$(declare -f tools_build); tools_build"
    mv "$folder/build/tools" "$folder/"
    rm -rf "$folder/build"
}

snapshot_make() {
    /usr/bin/python3 "$here/machine.py" "$1" "$2"
}

product() {
    local name=$1 release=$2 key

    case $name in
    system)
        system "$release"
        return
        ;;
    snapshot)
        key=$({
            system "$release" || exit 1
            qemu-system-x86_64 --version
            cat "$here/machine.py"
        } | lab_key) || exit 1
        ;;
    package) key=$(sources_key "$release" "${tree[@]}") || exit 1 ;;
    tools) key=$(sources_key "$release" "${tools[@]}") || exit 1 ;;
    *) lab_die "there is no product '$name'" ;;
    esac
    lab_product "$name-$release" "$key" "$here/make.sh" "${name}_make" "$release"
}

# Sourced for its functions when a product is made.
if [ "${BASH_SOURCE[0]}" = "$0" ]; then
    product "$@"
fi
