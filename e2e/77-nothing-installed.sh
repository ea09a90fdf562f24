# shellcheck shell=bash
# A host without QEMU, and an image that cannot be made: clear words, the contract's code.

export RINGFENCE_HOME="$WORK/bare"
mkdir "$RINGFENCE_HOME"
folder=$(new_folder 'hopeful')
make_project "$folder"
before=$(reference "$folder")
# The tools of the test, but neither qemu nor mmdebstrap.
mkdir "$WORK/bin"
for tool in sh bash env cat ssh ssh-keygen git; do ln -s "$(command -v "$tool")" "$WORK/bin/$tool"; done
without() { PATH="$WORK/bin" "$RINGFENCE_BIN/ringfence" "$@"; }
trap 'ringfence daemon stop >/dev/null 2>&1 || true' EXIT

step "doctor says what is missing and how to get it"
expect_failure without doctor
says qemu

step "a run says so too, and touches nothing"
expect 255 without run --yes --folder "$folder" -- true
says qemu
identical "$before" "$folder"

step "an image from a file that is none leaves nothing that looks like an image"
echo "no disk" >"$WORK/no-disk"
expect_failure ringfence image build --from "$WORK/no-disk"
equal "images" "$(ringfence image list --json | jq '.images | length')" 0

step "without a network: said plainly, with the way out, and nothing is left that looks like an image"
expect 0 ringfence daemon stop
# Nobody listens on that port.
offline() { http_proxy=http://127.0.0.1:9 https_proxy=http://127.0.0.1:9 no_proxy='' ringfence "$@"; }
expect 5 offline image build
says "ringfence image build --from FILE"
equal "images" "$(ringfence image list --json | jq '.images | length')" 0
expect 0 ringfence daemon stop

step "killed in the middle of making an image: what was begun is no image, and nobody works on at it"
half_made() { [ -n "$(find "$RINGFENCE_HOME/cache/images" -mindepth 1 -maxdepth 1 -name '.new-*' 2>/dev/null)" ]; }
nobody_builds() { ! pgrep -f "$RINGFENCE_HOME/cache/images" >/dev/null; }
# With the host's own directories mounted in it, as it is most of the time.
deep_in_it() { half_made && pgrep -f "apt-get.*$RINGFENCE_HOME.*install" >/dev/null; }
"$RINGFENCE_BIN/ringfence" image build >"$OUT" 2>"$ERR" &
client=$!
wait_for 180 "an image is half made" deep_in_it
kill -9 "$(daemon_pid)"
wait "$client" && die "the loss of the daemon was reported as success"
client=
equal "images" "$(ringfence image list --json | jq '.images | length')" 0
wait_for 60 "nobody builds on" nobody_builds
if grep -qF "$RINGFENCE_HOME" /proc/self/mountinfo; then die "something is still mounted in it"; fi
