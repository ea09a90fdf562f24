# shellcheck shell=bash
# Promise 8: docker works inside, because the machine is a whole one.

folder=$(new_folder 'docker')
echo "from the folder" >"$folder/file"

step "an image that is made on the spot runs, and sees the folder that is given to it"
expect 0 inside "$folder" '
    tar -ch /bin/sh /bin/cat /lib64/ld-linux-x86-64.so.2 /lib/x86_64-linux-gnu/libc.so.6 2>/dev/null | docker import - tiny >/dev/null
    docker run --rm --network none -v "$PWD:/here" tiny /bin/sh -c "cat /here/file; echo written > /here/made"'
says "from the folder"
equal "what the container wrote" "$(cat "$folder/made")" written

step "containers have the machine's network, and no more"
expect 0 inside "$folder" 'docker version --format "{{.Server.Os}}" && docker compose version >/dev/null'
says linux
