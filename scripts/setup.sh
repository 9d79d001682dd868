#!/usr/bin/env bash
# Brings up .venv: the locked packages with their hashes, and this project in editable form.
# Quiet when nothing is to do; an interrupted run is completed by the next one.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
tools=$root/.tools
venv=$root/.venv
mkdir -p "$tools"

fail() { echo "error: $*" >&2; exit 1; }
say() { echo "setup: $*" >&2; }

# Two makes at once: the second waits for the first.
exec 9>"$tools/lock"
flock 9

python=${PYTHON:-python3}
command -v "$python" >/dev/null || fail "no $python on PATH; install Python 3.11, 3.12 or 3.13, or name one: make PYTHON=/path/to/python3.12"
version=$("$python" -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])')
case $version in
3.11.* | 3.12.* | 3.13.*) ;;
*) fail "$python is Python $version; 3.11, 3.12 or 3.13 is needed. Name one: make PYTHON=/path/to/python3.12" ;;
esac
[ "$(uname -s)" = Linux ] || fail "the TFX wheels exist for Linux only; elsewhere use the container image (Dockerfile)"

# The stamp names all that the environment was made from; equal stamp, nothing to do.
stamp=$(cat requirements.lock pyproject.toml setup.py scripts/setup.sh scripts/glibc.sh | sha256sum | cut -d' ' -f1)-$version-$root
if [ -x "$venv/bin/python" ] && [ "$(cat "$venv/.stamp" 2>/dev/null)" = "$stamp" ]; then exit 0; fi

export UV_NO_CONFIG=1 UV_NO_PROGRESS=1 UV_PYTHON_DOWNLOADS=never UV_LINK_MODE=${UV_LINK_MODE:-hardlink}
# A certificate bundle or an index that pip is told of serves uv as well.
[ -z "${PIP_INDEX_URL:-}" ] || export UV_INDEX_URL=${UV_INDEX_URL:-$PIP_INDEX_URL}
export UV_NATIVE_TLS=${UV_NATIVE_TLS:-1}

uv=$(command -v uv || true)
if [ -z "$uv" ]; then
    uv=$tools/uv/bin/uv
    if ! "$uv" --version >/dev/null 2>&1; then
        say "installing uv into .tools/uv"
        rm -rf "$tools/uv"
        "$python" -m venv "$tools/uv" || fail "$python cannot make virtual environments; on Debian install python3-venv"
        "$tools/uv/bin/pip" install --quiet --disable-pip-version-check 'uv>=0.9' >&2 ||
            fail "uv could not be installed from the package index. Check the network and the index settings of pip, then run the same command again."
    fi
fi

# The newest wheels need glibc 2.39; musl and anything else old is told where to go.
glibc=$("$python" -c 'import platform; name, version = platform.libc_ver(); print(version if name == "glibc" else "0")')
if ! printf '2.39\n%s\n' "$glibc" | sort -V -C; then
    if [ "$glibc" != 0 ] && command -v dpkg >/dev/null && grep -qx 'ID=debian' /etc/os-release; then
        say "this system has glibc $glibc, the wheels need 2.39: taking Debian 13's into .tools/glibc"
        private=$tools/glibc-$version
        scripts/glibc.sh "$python" "$uv" "$private"
        python=$private/bin/python3
    else
        fail "this system has glibc $glibc, and the wheels of ml-metadata and tensorflow-data-validation need 2.39 (Debian 13, Ubuntu 24.04). Use the container image (Dockerfile)."
    fi
fi

say "installing the locked packages into .venv (about a minute)"
rm -f "$venv/.stamp"
# An environment of another interpreter, or one that was moved, is made anew.
if ! "$venv/bin/python" -c "import sys; assert sys.prefix == '$venv' and '%d.%d.%d' % sys.version_info[:3] == '$version'" 2>/dev/null; then
    rm -rf "$venv"
    "$uv" venv --quiet --python "$python" "$venv"
fi
"$uv" pip sync --quiet --python "$venv/bin/python" --require-hashes requirements.lock ||
    fail "the locked packages could not be installed. If the lines above speak of the network, check it and the package index, then run the same command again: what was downloaded is kept."
"$uv" pip install --quiet --python "$venv/bin/python" --no-deps --no-build-isolation \
    --config-setting editable_mode=compat --editable . ||
    fail "this project could not be installed into .venv; see the lines above"
echo "$stamp" >"$venv/.stamp"
