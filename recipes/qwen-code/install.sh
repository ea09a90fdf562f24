#!/bin/sh
# Runs as root in a throw-away machine with a network and no folder.
set -eu
npm install --global --loglevel=error @qwen-code/qwen-code
