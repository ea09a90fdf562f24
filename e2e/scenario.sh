#!/usr/bin/env bash
# Runs one scenario: the helpers first, then the file named as the argument.
set -euo pipefail
# shellcheck source=lib.sh
. "$E2E/lib.sh"
# shellcheck source=/dev/null
. "$1"
