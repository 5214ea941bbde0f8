#!/bin/sh
# Installs network-config-analyzer into an environment of its own: it is a peer to compare with, and no dependency.
# The tests run this by themselves; run before, it spares them the wait.  Does nothing where it is installed already.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
into=${1:-$here/../../../.pytest_cache/d/network-config-analyzer}
if cmp -s "$here/requirements.txt" "$into/installed.txt"; then exit 0; fi
rm -rf "$into"
"${PYTHON:-python3}" -m venv "$into"
"$into/bin/python" -m pip install --quiet --disable-pip-version-check --retries 1 --timeout 15 \
  --only-binary :all: --requirement "$here/requirements.txt"
cp "$here/requirements.txt" "$into/installed.txt"
