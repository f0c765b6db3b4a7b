# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# The guest: a Debian root with the stock kernel as a disk image, the kernel and its initramfs, a key to log in with, and
# the module gpio-sim, which Debian doesn't build, made from Debian's own kernel source. plugd is not in it. To be sourced.

system_here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tests/lab/root.sh
. "$system_here/root.sh"

system_disk=4G

system_packages() {
    echo linux-image-amd64 initramfs-tools systemd-sysv udev dbus kmod openssh-server iproute2 procps \
        ca-certificates python3 strace util-linux-extra gpiod i2c-tools fuse3 mosquitto mosquitto-clients openssl \
        libjson-c5
    case $1 in
    bookworm) echo libconfig9 ;;
    *) echo libconfig11 ;;
    esac
}

# What a virtual machine has no use for: drivers of hardware that it can't have.
system_no_drivers='arch/x86/events drivers/accel drivers/ata drivers/gpu drivers/infiniband drivers/isdn drivers/media
drivers/message drivers/net/ethernet drivers/net/wireless drivers/scsi drivers/staging drivers/thunderbolt sound'

# Not needed in the guest, and slow to start under emulation.
system_masked='systemd-logind.service dev-hugepages.mount sys-kernel-debug.mount sys-kernel-tracing.mount
modprobe@drm.service modprobe@efi_pstore.service modprobe@dm_mod.service modprobe@loop.service
systemd-timesyncd.service systemd-update-utmp.service systemd-networkd-wait-online.service mosquitto.service
apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service
systemd-pcrphase.service systemd-pcrphase-sysinit.service getty@tty1.service'

# system_initramfs ROOT: before the kernel is installed, so that its initramfs is made once, and small.
system_initramfs() {
    local root=$1

    mkdir -p "$root/etc/initramfs-tools/conf.d" "$root/etc/initramfs-tools/hooks"
    printf 'MODULES=list\nRUNSIZE=10%%\n' >"$root/etc/initramfs-tools/conf.d/lab"
    cat >"$root/etc/initramfs-tools/hooks/lab" <<'END'
#!/bin/sh
[ "$1" = prereqs ] && exit 0
. /usr/share/initramfs-tools/hook-functions
manual_add_modules virtio_pci virtio_blk ext4 crc32c_generic virtio_net virtio_rng i6300esb
END
    chmod 755 "$root/etc/initramfs-tools/hooks/lab"
}

# system_settle ROOT PUBLIC_KEY: what makes a root the lab's guest.
system_settle() {
    local root=$1 key=$2 unit

    echo lab >"$root/etc/hostname"
    printf '127.0.0.1 localhost lab\n::1 localhost\n' >"$root/etc/hosts"
    : >"$root/etc/resolv.conf"
    : >"$root/etc/machine-id"
    install -d -m 700 "$root/root/.ssh"
    install -m 600 "$key" "$root/root/.ssh/authorized_keys"
    printf 'UseDNS no\nPrintMotd no\nX11Forwarding no\nMaxSessions 100\nMaxStartups 100\n' >"$root/etc/ssh/sshd_config.d/lab.conf"
    cat >"$root/etc/systemd/system/lab-network.service" <<'END'
[Unit]
Description=Network of the lab's guest
DefaultDependencies=no
After=systemd-udevd.service systemd-modules-load.service
Wants=network.target
Before=network.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -c 'ip link set lo up; modprobe virtio_net; until [ -e /sys/class/net/eth0 ]; do sleep 0.1; done; ip address add 10.0.2.15/24 dev eth0; ip link set eth0 up; ip route add default via 10.0.2.2'
TimeoutStartSec=60
[Install]
WantedBy=multi-user.target
END
    ln -s ../lab-network.service "$root/etc/systemd/system/multi-user.target.wants/lab-network.service"
    for unit in $system_masked; do
        ln -sf /dev/null "$root/etc/systemd/system/$unit"
    done
    mkdir -p "$root/var/log/journal" # what was logged survives a reboot
    # Two people: install_plugd puts `member` into the group plugd.
    chroot "$root" useradd -m -s /bin/bash member
    chroot "$root" useradd -m -s /bin/bash visitor
}

# system_gpio_sim_build: in a root with the kernel's headers and source, in /mnt: gpio-sim.ko from gpio-sim and the
# interrupt simulator under it, which Debian leaves out as well.
system_gpio_sim_build() {
    local kernel=$1 source

    source=$(echo /usr/src/linux-source-*.tar.xz)
    tar -xf "$source" --strip-components=1 --wildcards '*/drivers/gpio/*.[ch]' '*/kernel/irq/irq_sim.c'
    mkdir module
    cp drivers/gpio/*.h module/
    cp drivers/gpio/gpio-sim.c module/chip.c
    cp kernel/irq/irq_sim.c module/irq.c
    # Exported to modules is not the descriptor itself, only what is in it.
    sed -i -e '/^MODULE_LICENSE/d' -e 's/irq_to_desc(\([^()]*\))/irq_data_to_desc(irq_get_irq_data(\1))/' \
        -e 's/^#include <linux\/irq.h>/&\n#include <linux\/irqdesc.h>/' module/irq.c
    printf 'obj-m := gpio-sim.o\ngpio-sim-y := chip.o irq.o\n' >module/Makefile
    make -C "/usr/src/linux-headers-$kernel" M="$PWD/module" modules
    cp module/gpio-sim.ko .
}

# system_gpio_sim RELEASE FOLDER: the compiler, headers and source in a root of their own, and the module.
system_gpio_sim() {
    local release=$1 folder=$2 kernel

    root_debootstrap "$release" "$folder/kernel-root" --variant=apt --include=linux-headers-amd64,linux-source,make,xz-utils
    kernel=$(basename "$(echo "$folder"/kernel-root/usr/src/linux-headers-*-amd64)")
    kernel=${kernel#linux-headers-}
    mkdir "$folder/gpio-sim"
    root_run "$folder/kernel-root" "$folder/gpio-sim" bash -euo pipefail -c \
        "$(declare -f system_gpio_sim_build); system_gpio_sim_build $kernel"
    mv "$folder/gpio-sim/gpio-sim.ko" "$folder/"
    echo "$kernel" >"$folder/gpio-sim.kernel"
    rm -rf --one-file-system "$folder/kernel-root" "$folder/gpio-sim"
}

system_make() {
    local release=$1 folder=$2 root=$2/root drivers=() driver packages kernel begin=$SECONDS

    # The two take as long as each other.
    system_gpio_sim "$release" "$folder" >"$folder/gpio-sim.log" 2>&1 &
    local module=$!
    for driver in $system_no_drivers; do
        drivers+=("--dpkgopt=path-exclude=/lib/modules/*/kernel/$driver/*" "--dpkgopt=path-exclude=/usr/lib/modules/*/kernel/$driver/*")
    done
    packages=$(system_packages "$release" | tr -s ' \n' ',')
    # shellcheck disable=SC2016
    root_debootstrap "$release" "$root" --variant=minbase --include="${packages%,}" --aptopt='APT::Install-Recommends "false"' \
        "${drivers[@]}" --essential-hook='bash -c ". \"\$0\" && system_initramfs \"\$1\"" "'"$system_here"'/system.sh" "$1"' || {
        wait "$module"
        return 1
    }
    echo "root after $((SECONDS - begin)) s"
    wait "$module" || {
        cat "$folder/gpio-sim.log"
        return 1
    }
    echo "gpio-sim after $((SECONDS - begin)) s"

    kernel=$(basename "$(echo "$root"/boot/vmlinuz-*)")
    kernel=${kernel#vmlinuz-}
    if [ "$kernel" != "$(cat "$folder/gpio-sim.kernel")" ]; then
        echo "the kernel is $kernel, but its headers are $(cat "$folder/gpio-sim.kernel"): the mirror is being updated, try again"
        return 1
    fi
    install -D -m 644 "$folder/gpio-sim.ko" "$root/usr/lib/modules/$kernel/updates/gpio-sim.ko"
    chroot "$root" depmod "$kernel"
    ssh-keygen -q -t ed25519 -N '' -C lab -f "$folder/key"
    system_settle "$root" "$folder/key.pub"
    cp "$root/boot/vmlinuz-$kernel" "$folder/vmlinuz"
    cp "$root/boot/initrd.img-$kernel" "$folder/initrd"
    echo "$kernel" >"$folder/kernel"
    rm -rf "${root:?}/boot" "$root/var/lib/apt/lists" "$root/var/cache/apt"
    mkdir -p "$root/boot" "$root/var/lib/apt/lists/partial" "$root/var/cache/apt/archives/partial"
    mke2fs -q -t ext4 -L lab -E lazy_itable_init=1 -d "$root" "$folder/root.img" "$system_disk"
    rm -rf --one-file-system "$root"
    echo "image after $((SECONDS - begin)) s"
}

# system RELEASE: prints the folder with root.img, vmlinuz, initrd, kernel (its version), key.
system() {
    local release=$1 key

    key=$({
        echo "$release"
        cat "$system_here"/{system,root,cache}.sh
    } | lab_key)
    lab_product "system-$release" "$key" "$system_here/system.sh" system_make "$release"
}
