# shellcheck shell=bash
# Promise 1, network: no host loopback, no address of the host, no local network.
# Each address is first reached from the host, so that a "no" means something.

folder=$(new_folder 'net')
port=$((20000 + RANDOM % 20000))
mkdir "$WORK/served"
echo "secret of the host" >"$WORK/served/index.html"
python3 -m http.server --directory "$WORK/served" --bind :: "$port" >"$WORK/log/http" 2>&1 &
server=$!
added=()
cleanup() {
    kill "$server"
    local address
    for address in "${added[@]}"; do ip addr del "$address" dev lo; done
}
trap cleanup EXIT
wait_for 20 "the host's service answers" curl -sf -m 3 "http://127.0.0.1:$port/"

expect 0 inside "$folder" true
probe() { ringfence exec "$MACHINE" -- curl -sS -m 3 "$1"; }

step "addresses that the host gets after the machine has started count too"
# A link-local one, and one of a range that only the host's own table can rule out.
for address in 169.254.77.77/32 203.0.113.77/32; do
    if [ "$(id -u)" = 0 ] && ip addr add "$address" dev lo 2>/dev/null; then
        added+=("$address")
    else
        not_checked "a new address $address of the host (needs root and a network of its own)"
    fi
done

step "no address of the host answers"
mapfile -t addresses < <(ip -j addr | jq -r '.[].addr_info[] | select(.scope != "link" or .family == "inet") | .local')
addresses+=(127.0.0.2 0.0.0.0)
checked=0
for address in "${addresses[@]}"; do
    url="http://$address:$port/"
    [[ $address != *:* ]] || url="http://[$address]:$port/"
    if ! curl -g -sf -m 3 "$url" >/dev/null; then
        not_checked "$url (not even the host reaches it)"
        continue
    fi
    expect_failure probe "$url"
    if grep -q secret "$OUT"; then die "$url was reached from inside"; fi
    checked=$((checked + 1))
done
[ "$checked" -gt 1 ] || die "only $checked addresses could be checked"

step "what the machine takes for its gateway and its name server is not the host either"
guests=$(ringfence exec "$MACHINE" -- sh -c 'ip route show default | sed "s/.*via \([^ ]*\).*/\1/"; sed -n "s/^nameserver //p" /etc/resolv.conf')
for address in $guests; do
    expect_failure probe "http://$address:$port/"
done

step "the network of the host is not reachable: ports that would answer on it"
for url in http://10.0.0.1/ http://172.17.0.1/ http://192.168.0.1/ http://100.64.0.1/ http://169.254.169.254/latest/; do
    expect_failure probe "$url"
done

step "the internet is"
public=${RINGFENCE_TEST_URL:-${RINGFENCE_DEBIAN_MIRROR:-http://deb.debian.org/debian}/dists/trixie/InRelease}
name=${public#*://}
name=${name%%[/:]*}
if curl -sf -m 20 -o /dev/null "$public"; then
    expect 0 ringfence exec "$MACHINE" -- curl -sSf -m 60 -o /dev/null "$public"
    expect 0 ringfence exec "$MACHINE" -- getent ahosts "$name"
else
    not_checked "the internet (the host itself does not reach $public)"
fi

step "a session without network has none"
expect_failure ringfence run --yes --machine offline --network offline --folder "$folder" -- curl -sS -m 3 "$public"
expect_failure ringfence run --yes --machine offline --network offline --folder "$folder" -- getent ahosts "$name"
expect 0 ringfence machine delete --yes offline
