#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# sudo tests/demo.sh [OPTIONS]: plugd at work, from nothing, on Debian 12.
#
# Installs what it needs, builds, and runs plugd with real readings of this machine and simulated sensors, on a private
# bus, against a stand-in for the CloudPlugs platform on loopback. Shows what is enrolled, read, published and confirmed.
# On a terminal that is a live view; otherwise one line an event, the Plug-ID first. Cleans up behind itself.
#
#   --seconds N        how long it runs (30)
#   --forever          until Ctrl-C
#
# Against the real platform instead:
#
#   --server HOST      e.g. api.cloudplugs.com
#   --port P           8883, or 1883 with --plain
#   --plain            without TLS
#   --ca FILE          authority of the server's certificate, where the system doesn't know it
#   --model MOD-ID --pass-file FILE      enrol as a thing of this model, with the pass in that file
#   --plug-id DEV-ID --auth-file FILE    or log in as a device that is enrolled already
#   --hwid ID          hardware id (this machine's)
#   --name NAME        name of the device
#   --state DIR        where the credentials stay for the next run (below /var/lib/plugd-demo)

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
# Wrong arguments are said before anything is installed, where there is a Python to say it.
if command -v python3 >/dev/null; then
    python3 "$root/tests/demo/demo.py" --check-arguments "$@" || exit 2
fi

require_machine
lock_builds
require_packages pkg.plugd.demo
echo "building plugd (some 20 seconds on a desktop, some minutes on a small machine)" >&2
build demo </dev/null >"$builds/demo-build.log" 2>&1 || {
    tail -30 "$builds/demo-build.log" >&2
    die "the build failed (see $builds/demo-build.log)"
}
exec 9>&- # others may build while this one shows
export PLUGD_BUILD=$builds/demo
exec /usr/bin/python3 "$root/tests/demo/demo.py" "$@"
