# shellcheck shell=bash
# Always on: systemd starts the daemon with the computer and keeps it running. The computer is a
# machine, because systemd is process 1 there, and it can be restarted; no machine is started in it.

readonly COMPUTER=always
cleanup() { ringfence machine delete --yes "$COMPUTER" >/dev/null 2>&1 || true; }
trap cleanup EXIT
guest() { ringfence exec "$COMPUTER" -- "$@"; }
root() { guest sudo sh -c "$1"; }
# As ann, who never logs in: no variable says where her systemd is.
ann() { guest sudo -u ann -H sh -c "cd && PATH=~/.local/bin:/usr/bin:/bin && $1"; }
# As ann, to her systemd.
unit() { ann "XDG_RUNTIME_DIR=/run/user/\$(id -u) systemctl --user $1"; }
main_pid() { unit 'show --property=MainPID --value ringfence.service'; }
# What is on disk, without a word to the daemon: a connection would start it.
snapshots() { root 'find /home/ann/.local/state/ringfence/vaults/*/snapshots -type f | wc -l'; }
more_snapshots_than() { [ "$(snapshots)" -gt "$1" ]; }
# another_than PID: the service runs, in another process.
another_than() {
    local pid
    pid=$(main_pid)
    [ "$pid" != 0 ] && [ "$pid" != "$1" ] && unit 'is-active --quiet ringfence.service'
}

step "a computer with systemd and an ordinary user, who installed Ringfence"
expect 0 ringfence machine create "$COMPUTER"
expect 0 ringfence machine start "$COMPUTER"
expect 0 root 'useradd --create-home ann
    install -d -o ann -g ann /home/ann/.local /home/ann/.local/bin
    # Machines need no logins, so their image has the parts switched off, or left out.
    systemctl unmask --quiet systemd-logind.service systemd-user-sessions.service
    mkdir -p /etc/systemd/system/user@.service.d
    printf "[Service]\nEnvironment=XDG_RUNTIME_DIR=/run/user/%%i\n" >/etc/systemd/system/user@.service.d/here.conf
    systemctl daemon-reload
    systemctl start systemd-logind.service "user@$(id -u ann).service"'
for binary in ringfence ringfenced; do
    strip -o "$WORK/$binary" "$RINGFENCE_BIN/$binary"
    gzip -1 <"$WORK/$binary" | guest sudo sh -c 'gzip -d >"$1" && chmod 0755 "$1"' sh "/home/ann/.local/bin/$binary"
    rm "$WORK/$binary"
done

# What a command leaves running in a machine ends with it: so what is about that is one command.
step "a command starts the daemon; what that lacks is said"
expect 0 ann 'mkdir shop && echo one >shop/file && ringfence folder add shop && ringfence daemon status && (ringfence doctor || true)'
says "A command started it"
says "ringfence daemon install --linger"

step "installed: systemd's daemon takes over from it, and protects the same folders"
expect 0 ann 'ringfence daemon start 2>&1 | tee started && ringfence daemon install &&
    grep -q "process [1-9]" started && ! kill -0 "$(sed -n "s/.*process \([0-9]*\)\..*/\1/p" started)" 2>/dev/null'
says "no backups in between"
expect 0 ann 'ringfence daemon status'
says "process $(main_pid)."
says "while you are logged in"
expect 0 ann 'ringfence status'
says shop

step "lingering: where only root may turn it on, that is said with the command"
expect 4 ann 'ringfence daemon install --linger'
says "sudo loginctl enable-linger"
expect 0 root 'loginctl enable-linger ann'
expect 0 ann 'ringfence daemon status'
says "systemd starts it with the computer"

step "how systemd sees it"
unit 'show --property=Type,NotifyAccess,Restart,KillMode,OOMPolicy,LimitCORE,UMask,WatchdogUSec ringfence.service'
ann 'XDG_RUNTIME_DIR=/run/user/$(id -u) systemd-analyze --user security --no-pager ringfence.service | tail -n 1'

step "a daemon that hangs is started anew, and goes on with the backups"
expect 0 ann 'mkdir -p .config/systemd/user/ringfence.service.d
    printf "[Service]\nWatchdogSec=6\n" >.config/systemd/user/ringfence.service.d/sooner.conf'
expect 0 unit daemon-reload
expect 0 ann 'ringfence daemon restart'
pid=$(main_pid)
# As a machine would be: a process that the service started.
expect 0 root "setpriv --reuid=ann --regid=ann --clear-groups sleep 1000 >/dev/null 2>&1 </dev/null &
    echo \$! >/run/outlives; cat /run/outlives >/sys/fs/cgroup\$(sed s/^0::// /proc/$pid/cgroup)/cgroup.procs"
expect 0 root "kill -STOP $pid"
wait_for 60 "the watchdog had it started anew" another_than "$pid"
expect 0 unit 'show --property=NRestarts --value ringfence.service'
says 1
before=$(snapshots)
expect 0 ann 'echo two >shop/file'
wait_for 60 "the change is stored" more_snapshots_than "$before"

step "also after kill -9; what it had started goes on"
pid=$(main_pid)
expect 0 root "kill -9 $pid"
wait_for 60 "it was started anew" another_than "$pid"
expect 0 root 'kill -0 "$(cat /run/outlives)"'

step "the computer is started anew, and nobody logs in: backups go on"
before=$(snapshots)
expect 0 ringfence machine restart "$COMPUTER"
wait_for 60 "it runs" another_than 0
expect 0 guest sudo -u ann sh -c 'echo three >/home/ann/shop/file'
wait_for 60 "the change is stored" more_snapshots_than "$before"
equal "sessions of ann's" "$(root 'loginctl list-sessions --no-legend | grep -c " ann " || true')" 0
expect 0 ann 'ringfence show latest file --folder shop'
says three

step "stopped is stopped, until a command needs it: then systemd starts it"
expect 0 ann 'ringfence daemon stop'
expect 7 ann 'ringfence daemon status'
says "it was stopped"
equal "the main process" "$(main_pid)" 0
expect 0 ann 'ringfence status'
another_than 0 || die "systemd did not start it"

step "uninstalled: nothing of it is left, and commands start the daemon as before"
expect 0 ann 'ringfence daemon uninstall'
equal "what is left of the units" "$(ann 'find .config/systemd -name "ringfence*" ! -name "*.d"')" ""
expect 0 ann 'ringfence status && ringfence daemon status'
says "A command started it"
