#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# tests/lab.sh VERB: the hardware lab, a virtual machine with Debian's stock kernel, systemd, simulated GPIO, a stub I2C
# bus, the platform's stand-in, and plugd installed from its package. Needs root on Debian 12; no /dev/kvm.
#
#     run COMMAND…       runs COMMAND in a new machine, with its output and exit status; one word is a line for the shell
#     shell              opens a shell in one
#     test [PYTEST…]     runs the lab's tests, with arguments for pytest
#     build              makes all that the others need, and says how long it took
#     clean              removes it
#
#     --release NAME     bookworm, which is Debian 12, or trixie, which is Debian 13
#     --no-snapshot      run, shell: boots, instead of starting from the snapshot of a booted machine
#     --no-plugd         run, shell: without plugd
#     --keep             run, shell: leaves the machine's console log and disk behind
#
# What is made stays in $PLUGD_LAB_CACHE (~/.cache/plugd/lab), and is made anew when what it is made of has changed. A
# machine's changes are gone with it.

set -u -o pipefail
# shellcheck source=tests/setup.sh
. "$(dirname "${BASH_SOURCE[0]}")/setup.sh"

case ${1:-help} in
run | shell | test | build | clean) ;;
help | -h | --help)
    sed -n '/^# tests/,/^$/s/^# \{0,1\}//p' "$0"
    exit 0
    ;;
*)
    echo "lab.sh: unknown verb '$1'; it takes run, shell, test, build, clean and help" >&2
    exit 2
    ;;
esac

require_machine
mkdir -p "$builds"
require_packages ''
exec /usr/bin/python3 "$root/tests/lab/lab.py" "$@"
