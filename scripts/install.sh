#!/usr/bin/env bash
# Install what Statera needs on this machine: Debian packages that are missing, then a virtual environment with the
# locked Python packages. Safe to run again; does nothing when all is there.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

fail() { printf 'install: %s\n  how to mend it: %s\n' "$1" "$2" >&2; exit 1; }

[ "$(uname -s)" = Linux ] || fail "this is $(uname -s), not Linux" "use a Debian 12 machine"

declare -A package_of=(
    [haproxy]=haproxy [keepalived]=keepalived [nft]=nftables [ip]=iproute2 [nsenter]=util-linux [setpriv]=util-linux
    [ping]=iputils-ping [curl]=curl [git]=git
)
missing=()
search_path="$PATH:/usr/sbin:/sbin:/usr/local/sbin"
for program in "${!package_of[@]}"; do
    PATH="$search_path" command -v "$program" >/dev/null || missing+=("${package_of[$program]}")
done
compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || missing+=(postgresql)
[ -e /etc/ssl/certs/ca-certificates.crt ] || missing+=(ca-certificates)
python=python3
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || missing+=(python3)
"$python" -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)

install_packages() {
    [ "$(id -u)" = 0 ] || fail "these packages are missing: $*" "run as root, or: apt-get install $*"
    command -v apt-get >/dev/null || fail "apt-get is missing, and so are: $*" "install them with this system's package manager"
    # Packages must not start their own services or make a database cluster: Statera runs its own.
    if [ ! -e /usr/sbin/policy-rc.d ]; then
        trap 'rm -f /usr/sbin/policy-rc.d' EXIT
        printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
        chmod 755 /usr/sbin/policy-rc.d
    fi
    if [ ! -e /etc/postgresql-common ]; then
        mkdir -p /etc/postgresql-common/createcluster.d
        printf 'create_main_cluster = false\n' >/etc/postgresql-common/createcluster.d/statera.conf
    fi
    export DEBIAN_FRONTEND=noninteractive
    apt-get install -y --no-install-recommends "$@" >/dev/null 2>&1 && return
    apt-get update -q || fail "apt-get update failed" "check the network and /etc/apt/sources.list"
    apt-get install -y --no-install-recommends "$@" || fail "apt-get could not install: $*" "see its message above"
}
if [ "${#missing[@]}" -gt 0 ]; then
    echo "install: Debian packages: ${missing[*]}"
    install_packages "${missing[@]}"
fi
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null ||
    fail "Python 3.11 or newer is missing" "use Debian 12 or newer"

stamp=$(cat requirements.lock pyproject.toml | sha256sum | cut -d' ' -f1)
if [ "$(cat .venv/.stamp 2>/dev/null || true)" != "$stamp" ] || ! .venv/bin/python -c 'import litestar' 2>/dev/null; then
    echo "install: Python packages into .venv"
    rm -rf .venv
    "$python" -m venv .venv
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock ||
        fail "pip could not install the locked packages" "check the network and pip's configuration"
    echo "$stamp" >.venv/.stamp
fi
