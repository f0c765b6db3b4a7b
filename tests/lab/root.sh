# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# Roots of Debian releases, made by mmdebstrap from where this machine gets its own packages. To be sourced.
#
#     root_build RELEASE      prints the path of a root in which plugd and its tests can be built; others use it too, so
#                             don't change it: build in a folder that is mounted or copied into it
#     root_sources RELEASE    the lines of a sources.list
#     root_run ROOT FOLDER COMMAND…    runs COMMAND in such a root, with FOLDER as /mnt
#     root_debootstrap        mmdebstrap with what all roots share

root_here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tests/lab/cache.sh
. "$root_here/cache.sh"

# What unit tests and packaging need beyond the build dependencies of the profile pkg.plugd.demo.
root_build_extra=bash-completion,fakeroot,libfuse3-dev,mosquitto-clients,openssl,procps,python3-pytest,python3-pytest-timeout,python3-pytest-xdist

# root_codename: this machine's own release.
root_codename() {
    # shellcheck disable=SC1091
    (. /etc/os-release && printf '%s\n' "${VERSION_CODENAME:-}")
}

# root_sources RELEASE: as this machine's apt has it, with the release exchanged. Nothing where this machine gets its
# packages otherwise: mmdebstrap then uses its default.
root_sources() {
    local release=$1 own uri suite codename component

    own=$(root_codename)
    # shellcheck disable=SC2016
    apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(CODENAME) $(COMPONENT)' 'Created-By: Packages' 2>/dev/null |
        while read -r uri suite codename component; do
            [ "$component" = main ] || continue
            case $uri in
            cdrom:* | file:* | copy:*) continue ;;
            esac
            case "$suite $codename" in
            "$own "* | "$own-updates "* | "$own-security "*) printf 'deb %s %s main\n' "$uri" "$release${suite#"$own"}" ;;
            "stable $own"*) printf 'deb %s %s main\n' "$uri" "$release" ;;
            "stable-"*" $own"*) printf 'deb %s %s main\n' "$uri" "$release-${suite#stable-}" ;;
            esac
        done | sort -u
}

# root_debootstrap RELEASE FOLDER [OPTION…]
root_debootstrap() {
    local release=$1 folder=$2 proxy sources
    shift 2

    command -v mmdebstrap >/dev/null || lab_die "mmdebstrap is not installed"
    sources=$(root_sources "$release")
    proxy=$(apt-config dump Acquire | grep -E '^Acquire::https?::Proxy' || true)
    # Without sources there is no mirror argument. Documentation is left out, and dpkg doesn't sync each file.
    mmdebstrap --mode=root --components=main --skip=check/qemu \
        --aptopt='Acquire::Retries "3"' ${proxy:+--aptopt="$proxy"} --dpkgopt=force-unsafe-io \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' "$@" "$release" "$folder" ${sources:+"$sources"}
}

root_build_make() {
    local release=$1 folder=$2

    # The hooks run in mmdebstrap; $1 is the root there.
    # shellcheck disable=SC2016
    root_debootstrap "$release" "$folder/root" --variant=buildd --include="$root_build_extra" \
        --customize-hook='mkdir "$1/tmp/control" && cp "'"$root_here"'/../../debian/control" "$1/tmp/control/"' \
        --customize-hook='mkdir "$1/tmp/control/debian" && mv "$1/tmp/control/control" "$1/tmp/control/debian/"' \
        --customize-hook='chroot "$1" apt-get -q -y --no-install-recommends -P pkg.plugd.demo build-dep /tmp/control' \
        --customize-hook='rm -r "$1/tmp/control"'
}

root_build() {
    local release=$1 key folder

    key=$({
        echo "$release $root_build_extra"
        cat "$root_here"/{root,cache}.sh "$root_here/../../debian/control"
    } | lab_key)
    folder=$(lab_product "build-root-$release" "$key" "$root_here/root.sh" root_build_make "$release") || exit 1
    printf '%s/root\n' "$folder"
}

# root_run ROOT FOLDER COMMAND…: runs COMMAND in the root, where FOLDER is /mnt, and the working directory. The mounts are
# its own, and end with it.
root_run() {
    # shellcheck disable=SC2016
    unshare --mount --fork --pid --kill-child bash -euo pipefail -c '
        root=$1 folder=$2
        shift 2
        mount --bind "$folder" "$root/mnt"
        mount -t proc proc "$root/proc"
        mount --bind /dev "$root/dev"
        mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
        mount -t tmpfs -o mode=755 tmpfs "$root/run"
        exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/tmp LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive \
            chroot "$root" sh -c "cd /mnt && exec \"\$@\"" sh "$@"' root_run "$@"
}
