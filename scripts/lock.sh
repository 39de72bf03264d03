#!/usr/bin/env bash
# Resolve the dependencies of pyproject.toml into requirements.lock: hashes for all wheels, no index named.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check pip-tools
"$work/venv/bin/pip-compile" --quiet --extra dev --extra keystone --extra otel --generate-hashes --allow-unsafe --strip-extras --no-header \
    --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --no-annotate \
    --output-file "$work/lock" pyproject.toml
{ echo "# Made by 'make lock' from pyproject.toml. Hashes only."; cat "$work/lock"; } >requirements.lock
