#!/usr/bin/env bash
# Builds the container image and runs a task of the pipeline in it. Needs root and Debian, no Docker.
#
#     make image-check                  KEEP=1 keeps the image storage for the next time
#     make image-check TARGET=gpu       the image with CUDA's libraries; its task runs on the CPU
#
# buildah builds in a chroot. The base image is made with debootstrap from the mirror that this
# machine's apt uses, and stands in for debian:trixie-slim.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$PWD/.tools/image
target=${TARGET:-cpu}
say() { echo "image-check: $*" >&2; }
fail() {
    echo "error: $*" >&2
    exit 1
}
case $target in cpu | gpu) ;; *) fail "TARGET=$target: must be cpu or gpu" ;; esac
[ "$(id -u)" = 0 ] || fail "building without Docker needs root; with Docker: docker build --tag vqvae ."
command -v apt-get >/dev/null || fail "this check is for Debian; elsewhere: docker build --tag vqvae ."

missing=()
for tool in buildah debootstrap crun; do command -v "$tool" >/dev/null || missing+=("$tool"); done
if [ ${#missing[@]} -gt 0 ]; then
    say "installing ${missing[*]}"
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null ||
        fail "${missing[*]} could not be installed; run apt-get update and try again"
fi

mkdir -p "$work"
# Two at once would share the storage, and the first to end would remove it.
exec 9>"$work.lock"
flock -n 9 || fail "another image check of this checkout is going on; wait for it"
export TMPDIR=$work/tmp
mkdir -p "$TMPDIR"
buildah=(buildah --storage-driver=vfs --root "$work/storage" --runroot "$work/run")
container=''
cleanup() {
    [ -z "$container" ] || "${buildah[@]}" rm "$container" >/dev/null || true
    [ -n "${KEEP:-}" ] || rm -rf "$work"
}
trap cleanup EXIT

# --- The base ------------------------------------------------------------------------------------

# shellcheck disable=SC2016 # $(REPO_URI) is apt's
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | awk '!/security/ && !n++' || true)
[ -n "$mirror" ] || fail "no Debian mirror is configured in apt"
if ! "${buildah[@]}" inspect --type image debian:trixie-slim >/dev/null 2>&1; then
    say "making the base image with debootstrap"
    rm -rf "$work/base"
    debootstrap --variant=minbase trixie "$work/base" "$mirror" >"$work/debootstrap.log" 2>&1 ||
        fail "debootstrap: $(tail -1 "$work/debootstrap.log")"
    rm -rf "$work"/base/var/cache/apt/archives/*.deb "$work"/base/var/lib/apt/lists/*
    base=$("${buildah[@]}" from scratch)
    "${buildah[@]}" add --quiet "$base" "$work/base" / >/dev/null
    "${buildah[@]}" commit --quiet "$base" debian:trixie-slim >/dev/null
    "${buildah[@]}" rm "$base" >/dev/null
    rm -rf "$work/base"
fi

# --- The image -----------------------------------------------------------------------------------

secrets=()
pip_config=$(python3 -m pip config debug 2>/dev/null | sed -n 's/^ *\(\/[^,]*\), exists: True/\1/p' | tail -1 || true)
if [ -n "${PIP_INDEX_URL:-}" ]; then
    printf '[global]\nindex-url = %s\n' "$PIP_INDEX_URL" >"$TMPDIR/pip.conf"
    pip_config=$TMPDIR/pip.conf
fi
[ -z "$pip_config" ] || secrets+=(--secret "id=pip,src=$pip_config")
ca=${PIP_CERT:-${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}}
[ ! -e "$ca" ] || secrets+=(--secret "id=ca,src=$ca")
say "building the $target image (about ten minutes; log: .tools/image/build.log)"
"${buildah[@]}" bud --isolation=chroot --format=docker --pull=never --network=host --target "$target" \
    --build-arg REVISION="$(git rev-parse HEAD 2>/dev/null || echo unknown)" "${secrets[@]}" \
    --tag vqvae . >"$work/build.log" 2>&1 ||
    fail "the image could not be built: $(grep -v '^$' "$work/build.log" | tail -1)"

# --- What is in it -------------------------------------------------------------------------------

container=$("${buildah[@]}" from --pull=never vqvae)
root=$("${buildah[@]}" mount "$container")
say "size $(du -sm --exclude=proc --exclude=sys "$root" | cut -f1) MiB, packages $(du -sm "$root/opt/vqvae" | cut -f1) MiB"
user=$("${buildah[@]}" inspect --type image --format '{{.OCIv1.Config.User}}' vqvae)
[ "$user" = 1000:1000 ] || fail "the image runs as '$user', not as the numeric user 1000:1000"
if [ -e "$root/run/secrets/pip" ] || grep -rqs 'index-url' "$root/etc/pip.conf" "$root/home/vqvae"; then
    fail "settings of the package index are left in the image"
fi

# The task runs as its user, with what the launcher would have put in place.
say "running ImageExampleGen as user 1000"
task=$work/task
rm -rf "$task"
mkdir -p "$task"
.venv/bin/python scripts/image_task.py "$task" >"$work/task.log" 2>&1 ||
    fail "the task could not be prepared: $(tail -1 "$work/task.log")"
chown -R 1000:1000 "$task"
mapfile -d '' arguments <"$task/arguments"
"${buildah[@]}" run --isolation=chroot --user 1000:1000 --env VQVAE_MOUNT_ROOT=/task \
    --volume "$task:/task" "$container" -- "${arguments[@]}" >"$work/task.log" 2>&1 ||
    fail "the task failed: $(tail -1 "$work/task.log")"
grep -q '"uri": "minio://check/examples"' "$task/output.json" ||
    fail "the task's output file does not name the artifact's URI"
written=$(find "$root" -xdev -user 1000 ! -path "$root/tmp/*" ! -path "$root/home/vqvae*" | head -1 || true)
[ -z "$written" ] || fail "the task wrote ${written#"$root"}; only /tmp and HOME need to be writable"
[ -n "$(ls "$task/minio/check/examples/Split-train")" ] || fail "the task wrote no examples"
say "passed: $(grep -o '"num_records": [0-9.]*' "$task/output.json") as user 1000"
