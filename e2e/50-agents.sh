# shellcheck shell=bash
# The agents really install and answer; once installed they are not installed again.

folder=$(new_folder 'agents')
make_project "$folder"

for profile in claude codex qwen; do
    step "$profile prints its version"
    expect 0 ringfence run "$profile" --yes --folder "$folder" -- --version
    grep -Eq '[0-9]+\.[0-9]+\.[0-9]+' "$OUT" || die "no version in: $(head -c 500 "$OUT")"
    version=$(cat "$OUT")

    step "$profile is not installed a second time"
    layers=$(ringfence image list --json | jq -c '[.images[] | {hash, built}]')
    expect 0 ringfence run "$profile" --yes --folder "$folder" -- --version
    equal "version" "$(cat "$OUT")" "$version"
    equal "images" "$(ringfence image list --json | jq -c '[.images[] | {hash, built}]')" "$layers"

    # One machine at a time is enough for a small host.
    for machine in $(ringfence machine list --json | jq -r --arg keep "$MACHINE" '.machines[].name | select(. != $keep)'); do
        expect 0 ringfence machine delete --yes "$machine"
    done
done
