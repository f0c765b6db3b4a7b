#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# install-conf.sh FOLDER: run by `meson install`. Puts plugd.conf there, unless one that somebody has changed is there
# already: then the new one goes beside it, as plugd.conf.new.

set -eu

# Meson before 1.1 keeps what a script prints to itself, so this goes where meson's own errors go.
say() {
    echo "$1" 2>/dev/null >>"/proc/$PPID/fd/2" || echo "$1" >&2
}

new=$(dirname "$0")/plugd.conf
installed=${DESTDIR-}$1/plugd.conf

if [ -e "$installed" ] || [ -L "$installed" ]; then
    if cmp -s "$new" "$installed"; then
        exit 0
    fi
    say "Keeping $installed, which is not the default file; that is beside it, as plugd.conf.new"
    installed=$installed.new
fi
mkdir -p "$(dirname "$installed")"
# Whole before it has its name.
cp "$new" "$installed.part"
chmod 644 "$installed.part"
mv -f "$installed.part" "$installed"
