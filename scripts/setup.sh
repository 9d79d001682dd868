#!/usr/bin/env bash
# Brings up .venv: the locked packages with their hashes, and this project in editable form.
#
#     scripts/setup.sh            (the Makefile runs it before every target)
#     PYTHON=/path/to/python3.12 scripts/setup.sh
#     GPU=1 scripts/setup.sh      CUDA's libraries, too; the default where the NVIDIA driver is loaded
#
# Quiet when nothing is to do. An interrupted run is completed by the next one. What the installers
# say goes to .tools/setup.log; an error is one line.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
tools=$root/.tools
venv=$root/.venv
log=$tools/setup.log

say() { echo "setup: $*" >&2; }
fail() {
    echo "error: $*" >&2
    exit 1
}
# Why the last installer gave up, from the log: its error and the deepest cause of it.
reason() {
    awk '
        /^E: / { if (!apt) { head = substr($0, 4); cause = "" } apt = 1; next }
        /^(error|ERROR): / { sub(/^[^:]*: */, ""); head = $0; apt = 0; if (!retry) cause = "" }
        /^ *([Cc]aused? by|cause): / { sub(/^[^:]*: */, ""); cause = $0 }
        /connection broken by/ { retry = 1; cause = $0; sub(/.*\] /, "", cause); sub(/\047.*/, "", cause) }
        END { print (head ? head : "no reason was given") (cause ? ": " cause : "") }
    ' "$log" | sed 's/[.]*$//'
}
again="If that is the network, check it and the package index, then run the same command again; what was downloaded is kept. Details: .tools/setup.log"

[ "$(uname -sm)" = "Linux x86_64" ] ||
    fail "this is $(uname -sm); the environment is built for Linux x86_64. Use a container of a newer system, such as debian:trixie-slim."

# --- Which Python -------------------------------------------------------------------------------

if [ -n "${PYTHON:-}" ]; then candidates=("$PYTHON"); else candidates=(python3 python3.13 python3.12 python3.11); fi
python='' found=''
for candidate in "${candidates[@]}"; do
    version=$("$candidate" -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])' 2>/dev/null) || continue
    case $version in
    3.11.* | 3.12.* | 3.13.*)
        # Not the shim of a version manager: it does work of its own, and leaves a lock if killed.
        python=$("$candidate" -c 'import sys; print(sys.executable)')
        break
        ;;
    *) found+="${found:+, }$candidate is $version" ;;
    esac
done
[ -n "$python" ] ||
    fail "Python 3.11, 3.12 or 3.13 is needed; ${found:-no Python under the name ${candidates[*]}}. Name one: make PYTHON=/path/to/python3.12"

# --- Is there anything to do --------------------------------------------------------------------

# Two makes at once: the second waits for the first.
mkdir -p "$tools"
exec 9>"$tools/lock"
flock -n 9 || { say "waiting for another set-up of this checkout" && flock 9; }

locks=(requirements.lock)
[ -e /proc/driver/nvidia/version ] && gpu=1 || gpu=0
[ "${GPU:-$gpu}" = 0 ] || locks+=(requirements-gpu.lock)

# The stamp names all that the environment was made from; equal stamp, nothing to do.
stamp=$(cat "${locks[@]}" pyproject.toml setup.py scripts/setup.sh scripts/glibc.sh | sha256sum | cut -d' ' -f1)-$version-$root
if [ -x "$venv/bin/python" ] && [ "$(cat "$venv/.stamp" 2>/dev/null)" = "$stamp" ]; then exit 0; fi

# The newest wheels need glibc 2.39; musl and anything else old is told where to go.
glibc=$("$python" -c 'import platform; name, version = platform.libc_ver(); print(version if name == "glibc" else "0")')
private_glibc=''
if ! printf '2.39\n%s\n' "$glibc" | sort -V -C; then
    if [ "$glibc" = 0 ] || ! command -v dpkg >/dev/null || ! grep -qx 'ID=debian' /etc/os-release; then
        [ "$glibc" = 0 ] && has="no glibc" || has="glibc $glibc"
        fail "this system has $has, and the wheels of ml-metadata and tensorflow-data-validation need 2.39 (Debian 13, Ubuntu 24.04). Use a container of a newer system, such as debian:trixie-slim."
    fi
    private_glibc=yes
fi

# --- uv -----------------------------------------------------------------------------------------

: >"$log"
# shellcheck source=scripts/package_index.sh
. scripts/package_index.sh

# A way to run pip: Python's own; the one that venv brings; or, on a Debian or Ubuntu without
# python3-venv, the wheel of the package python3-pip-whl, unpacked and not installed.
find_pip() {
    if "$python" -m pip --version >/dev/null 2>&1; then
        pip=("$python" -m pip)
    elif "$python" -m venv "$tools/pip" >>"$log" 2>&1; then
        pip=("$tools/pip/bin/python" -m pip)
    else
        rm -rf "$tools/pip" && mkdir "$tools/pip"
        (cd "$tools/pip" && apt-get -qq download python3-pip-whl && dpkg -x ./*.deb .) >>"$log" 2>&1 ||
            fail "$python has neither pip nor venv to install uv with. Install one (on Debian and Ubuntu: apt-get install python3-venv) and run the same command again."
        pip=(env PYTHONPATH="$(echo "$tools"/pip/usr/share/python-wheels/pip-*.whl)" "$python" -m pip)
    fi
}

uv=$(command -v uv || true)
[ -n "$uv" ] || uv=$tools/uv/bin/uv
if ! "$uv" --version >/dev/null 2>&1; then
    uv=$tools/uv/bin/uv
    say "installing uv into .tools/uv"
    find_pip
    rm -rf "$tools/uv" "$tools/uv.partial"
    PIP_USER=0 "${pip[@]}" install --quiet --disable-pip-version-check --retries 2 \
        --target "$tools/uv.partial" 'uv>=0.9' >>"$log" 2>&1 ||
        fail "uv could not be installed: $(reason). $again"
    mv "$tools/uv.partial" "$tools/uv"
    rm -rf "$tools/pip"
fi

# --- glibc --------------------------------------------------------------------------------------

if [ -n "$private_glibc" ]; then
    [ -d "$tools/glibc-$version" ] || say "this system has glibc $glibc, the wheels need 2.39: fetching Debian 13's into .tools"
    scripts/glibc.sh "$python" "$uv" "$tools/glibc-$version" >>"$log" 2>&1 ||
        fail "Python on Debian 13's C library could not be set up: $(reason). $again"
    python=$tools/glibc-$version/bin/python3
fi

# --- .venv --------------------------------------------------------------------------------------

# Kept: a finished environment of this very place and version. Anything else is made anew, also
# one whose installation was interrupted, for a package may be there in part; the downloads are
# kept by uv.
if ! [ -s "$venv/.stamp" ] ||
    ! "$venv/bin/python" -c "import sys; sys.exit((sys.prefix, '%d.%d.%d' % sys.version_info[:3]) != ('$venv', '$version'))" 2>/dev/null; then
    say "installing the locked packages into .venv (about a minute)"
    rm -rf "$venv"
    "$uv" venv --quiet --python "$python" "$venv" >>"$log" 2>&1 || fail ".venv could not be made: $(reason)"
else
    say "updating .venv to the locked packages"
fi
rm -f "$venv/.stamp"
"$uv" pip sync --python "$venv/bin/python" --require-hashes "${locks[@]}" >>"$log" 2>&1 ||
    fail "the locked packages could not be installed: $(reason). $again"
"$uv" pip install --python "$venv/bin/python" --no-deps --no-build-isolation --config-setting editable_mode=compat --editable . >>"$log" 2>&1 ||
    fail "this project could not be installed into .venv: $(reason). Details: .tools/setup.log"
echo "$stamp" >"$venv/.stamp.partial"
mv "$venv/.stamp.partial" "$venv/.stamp"
