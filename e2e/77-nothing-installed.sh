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
