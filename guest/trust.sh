#!/bin/sh
# trust.sh bundle|links: makes the system trust the authorities that the host handed in, and no longer those that it
# handed in before. By hand instead of by update-ca-certificates, which under emulation takes longer than the rest of the
# start; and in two steps, because nearly everything reads the bundle and can begin when that is there.
set -eu
extra=/etc/ringfence/extra-ca.pem
certs=/etc/ssl/certs
base=/usr/lib/ringfence/base-ca.pem
linked=/usr/lib/ringfence/linked-ca.pem

bundle() {
    [ -e "$extra" ] || [ -e "$base" ] || return 0
    [ -e "$base" ] || cp "$certs/ca-certificates.crt" "$base"
    if [ -e "$extra" ]; then
        cat "$base" "$extra" >"$certs/ca-certificates.new"
    else
        cp "$base" "$certs/ca-certificates.new"
    fi
    mv "$certs/ca-certificates.new" "$certs/ca-certificates.crt"
}

# For programs that look an authority up by the hash of its name.
links() {
    if [ -e "$extra" ]; then
        ! cmp -s "$extra" "$linked" || return 0
    else
        [ -e "$linked" ] || return 0
    fi
    rm -f "$certs"/ringfence-* "$linked"
    find "$certs" -xtype l -delete
    number=0
    for file in /etc/ringfence/ca/*.pem; do
        [ -e "$file" ] || continue
        name="ringfence-$number.pem"
        cp "$file" "$certs/$name"
        hash=$(openssl x509 -noout -hash -in "$file")
        slot=0
        while [ -e "$certs/$hash.$slot" ]; do slot=$((slot + 1)); done
        ln -s "$name" "$certs/$hash.$slot"
        number=$((number + 1))
    done
    [ ! -e "$extra" ] || cp "$extra" "$linked"
}

case "$1" in
bundle) bundle ;;
links) links ;;
*) exit 2 ;;
esac
