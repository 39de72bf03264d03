#!/usr/bin/env bash
# Look for advisories on the locked packages. Fails when there are some; only says so when nobody can be asked.
# Not one of the tests: an advisory comes when it comes, and needs the network.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
unknown() { printf 'audit: nothing is known: %s\n' "$1"; exit 0; }

# The tool is no dependency of Statera, and goes when it has answered.
.venv/bin/python -m venv "$folder/venv"
"$folder/venv/bin/pip" --disable-pip-version-check install --quiet --timeout 15 --retries 1 pip-audit 2>"$folder/why" ||
    unknown "pip-audit cannot be installed: $(tail -n 1 "$folder/why")"
code=0
timeout 300 "$folder/venv/bin/pip-audit" --requirement requirements.lock --require-hashes --disable-pip \
    --progress-spinner off >"$folder/told" 2>"$folder/why" || code=$?
# The program ends with 1 for advisories as for a failure; only with advisories is there a table.
skipped=$(grep -c 'could not be audited' "$folder/told" || true)
locked=$(grep -c '==' requirements.lock || true)
if [ "$code" = 0 ] && [ "$skipped" -ge "$locked" ]; then unknown "the database knows none of the packages"; fi
cat "$folder/told"
if [ "$code" = 0 ]; then echo "audit: no advisories for $((locked - skipped)) of $locked packages"; exit 0; fi
if [ -s "$folder/told" ]; then cat "$folder/why" >&2; exit 1; fi
unknown "no database of advisories answers: $(tail -n 1 "$folder/why")"
