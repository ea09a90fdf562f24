# shellcheck shell=bash
# A folder in a machine is a POSIX file system, but for what is meant to be otherwise: the suite
# pjdfstest as root inside. What fails must be in pjdfstest.toml, which says why, and must fail.
# `bench/posix` holds that list against the stock virtiofsd.

suite=${RINGFENCE_PJDFSTEST:-$(dirname "$RINGFENCE_BIN")/test-tools/bin/pjdfstest}
[ -x "$suite" ] || skip "pjdfstest is not there: scripts/setup-host --tests"
folder=$(new_folder 'posix')
mkdir "$folder/here"
cp "$suite" "$E2E/pjdfstest.toml" "$folder"

step "the suite, as root inside"
expect 0 inside "$folder" 'cp pjdfstest pjdfstest.toml /var/tmp && sudo /var/tmp/pjdfstest -c /var/tmp/pjdfstest.toml -p here >/var/tmp/result 2>&1; code=$?
    grep -aE "FAILED|PASSED UNEXPECTEDLY" /var/tmp/result; tail -n 1 /var/tmp/result; exit $code'
says "0 failed"

step "a program that runs cannot be written"
expect 0 inside "$folder" 'cp /bin/sleep runs && { ./runs 30 & } && sleep 1 && if echo x >runs; then exit 9; fi; kill %1; cmp runs /bin/sleep'
says "Text file busy"
