#!/bin/sh
# Makes the system trust the authorities that the host handed in, and no longer those that it handed in before.
# By hand instead of by update-ca-certificates, which under emulation takes longer than the rest of the start.
set -eu
extra=/etc/ringfence/extra-ca.pem
certs=/etc/ssl/certs
base=/usr/lib/ringfence/base-ca.pem
[ -e "$extra" ] || [ -e "$base" ] || exit 0
[ -e "$base" ] || cp "$certs/ca-certificates.crt" "$base"
if [ -e "$extra" ]; then
    cat "$base" "$extra" >"$certs/ca-certificates.new"
else
    cp "$base" "$certs/ca-certificates.new"
fi
if cmp -s "$certs/ca-certificates.new" "$certs/ca-certificates.crt"; then
    rm -f "$certs/ca-certificates.new"
    exit 0
fi
chmod 0644 "$certs/ca-certificates.new"
mv "$certs/ca-certificates.new" "$certs/ca-certificates.crt"
# Programs that look authorities up by the hash of their name instead of in the bundle.
rm -f "$certs"/ringfence-*
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
