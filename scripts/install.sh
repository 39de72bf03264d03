#!/usr/bin/env bash
# Install what Statera needs on this machine: Debian packages that are missing, then a virtual environment with the
# locked Python packages and Statera itself. Safe to run again; does nothing when all is there.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

fail() { printf 'install: %s\n  how to mend it: %s\n' "$1" "$2" >&2; exit 1; }

[ "$(uname -s)" = Linux ] || fail "this is $(uname -s), not Linux" "use a Debian 12 machine"

# One at a time: a second run (another make, another terminal) waits here and then finds everything done.
exec 9<.
flock 9

# --- Debian packages ---------------------------------------------------------------------------------------------

search_path="$PATH:/usr/sbin:/sbin:/usr/local/sbin"
has_program() { PATH="$search_path" command -v "$1" >/dev/null; }
is_new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }
can_make_venv() { "$1" -c 'import ensurepip, venv' 2>/dev/null; }

# The first of these that is new enough and can make a virtual environment; prints nothing when there is none.
find_python() {
    local candidate
    for candidate in python3 /usr/bin/python3 python3.13 python3.12 python3.11; do
        if is_new_enough "$candidate" && can_make_venv "$candidate"; then echo "$candidate"; return; fi
    done
}

find_missing() {
    local program
    local -A package_of=(
        [haproxy]=haproxy [keepalived]=keepalived [nft]=nftables [ip]=iproute2 [nsenter]=util-linux [setpriv]=util-linux
        [ping]=iputils-ping [sysctl]=procps [curl]=curl [git]=git [make]=make [nginx]=nginx
        [pgbouncer]=pgbouncer
    )
    for program in "${!package_of[@]}"; do
        has_program "$program" || echo "${package_of[$program]}"
    done
    [ -e /usr/lib/nginx/modules/ngx_stream_module.so ] || echo libnginx-mod-stream
    compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || echo postgresql
    [ -e /etc/ssl/certs/ca-certificates.crt ] || echo ca-certificates
    [ -n "$(find_python)" ] || printf '%s\n' python3 python3-venv
}

policy=/usr/sbin/policy-rc.d
no_cluster=/etc/postgresql-common/createcluster.d/statera-install.conf
mark='# Made by the installation of Statera, which removes it at its end.'

# Packages must not start services or make a database cluster while we install them: Statera runs its own.
hold_services() {
    trap release_services EXIT
    trap 'exit 130' INT TERM HUP
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\n%s\nexit 101\n' "$mark" >"$policy"
        chmod 755 "$policy"
    fi
    case " $* " in *" postgresql "*)
        mkdir -p "${no_cluster%/*}"
        printf '%s\ncreate_main_cluster = false\n' "$mark" >"$no_cluster"
    esac
}

# Removes only what carries our mark.
release_services() {
    local file
    for file in "$policy" "$no_cluster"; do
        if grep -qsF "$mark" "$file"; then rm -f "$file"; fi
    done
}

install_packages() {
    local names="$*" answer install=(apt-get -o DPkg::Lock::Timeout=300 install -y --no-install-recommends)
    command -v apt-get >/dev/null ||
        fail "these packages are missing, and so is apt-get: $names" "install them with this system's package manager"
    [ "$(id -u)" = 0 ] || fail "these packages are missing, and only root may install them: $names" \
        "run this as root once, or: sudo apt-get install $names"
    hold_services "$@"
    export DEBIAN_FRONTEND=noninteractive
    echo "install: Debian packages: $names"
    # The lists of packages are fetched only when the ones at hand do not do.
    if ! answer=$("${install[@]}" "$@" 2>&1); then
        apt-get update -q || fail "apt-get update failed" "check the network and /etc/apt/sources.list"
        answer=$("${install[@]}" "$@" 2>&1) || {
            printf '%s\n' "$answer" >&2
            fail "apt-get could not install: $names" "see its message above"
        }
    fi
    release_services
}

# What a run that was killed left behind would keep every service of this machine from starting.
if [ "$(id -u)" = 0 ]; then release_services; fi
mapfile -t missing < <(find_missing | sort -u)
if [ "${#missing[@]}" -gt 0 ]; then install_packages "${missing[@]}"; fi

# The unprivileged user of API, worker and health process (option control_user).
if [ "$(id -u)" = 0 ] && ! getent passwd statera >/dev/null && has_program useradd; then
    echo "install: system user statera"
    useradd --system --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin statera ||
        echo "install: no system user statera; Statera's processes will run as root" >&2
fi

python=$(find_python)
[ -n "$python" ] || fail "Python 3.11 or newer with its venv module is missing" \
    "use Debian 12 or newer, or: apt-get install python3 python3-venv"

# --- Python packages ---------------------------------------------------------------------------------------------

# The folder is part of the key: the scripts of a virtual environment name the place where it was made.
stamp=$({ pwd -P; cat requirements.lock pyproject.toml; } | sha256sum | cut -d' ' -f1)
if [ "$(cat .venv/.stamp 2>/dev/null || true)" = "$stamp" ] && [ -x .venv/bin/statera ] && .venv/bin/python -c 'import litestar' 2>/dev/null; then
    exit 0
fi

pip() { .venv/bin/python -m pip --disable-pip-version-check "$@"; }

# An environment made here is brought up to date in place, so that what runs from it goes on.
if [ "$(cat .venv/.place 2>/dev/null || true)" != "$(pwd -P)" ] || ! is_new_enough .venv/bin/python || ! pip --version >/dev/null 2>&1; then
    rm -rf .venv
    "$python" -m venv .venv || fail "$python could not make a virtual environment" "see its message above; apt-get install python3-venv"
    pwd -P >.venv/.place
fi
echo "install: Python packages into .venv, which may take some minutes"
rm -f .venv/.stamp
pip install --quiet --require-hashes -r requirements.lock ||
    fail "pip could not install the locked packages" "see its message above; check the network and pip's configuration"
# The build backend is one of the locked packages, so nothing unlocked is fetched here.
pip install --quiet --no-deps --no-build-isolation --no-index -e . ||
    fail "pip could not install Statera itself into .venv" "see its message above; make clean, then try again"
echo "$stamp" >.venv/.stamp
