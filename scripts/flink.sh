#!/usr/bin/env bash
# Brings Flink's jars to .tools/flink, for the tests that start a cluster; nothing when they are
# there. Runs after setup.sh, whose uv and index it takes. Without a JDK those tests are skipped.
set -euo pipefail
cd "$(dirname "$0")/.."
flink=.tools/flink
lock=requirements-flink.lock
log=.tools/setup.log

if ! command -v java >/dev/null || ! command -v javac >/dev/null; then
    echo "flink: no JDK (java and javac, version 17): the tests that start Flink are skipped" >&2
    exit 0
fi
if cmp -s "$lock" "$flink/made-from"; then exit 0; fi

python=python3
# shellcheck source=scripts/package_index.sh
. scripts/package_index.sh
echo "flink: fetching the jars of Flink, 230 MB, into $flink (half a minute)" >&2
rm -rf "$flink" "$flink.partial"
# Published as sources only, which hold the jars; the environment has what packs them.
PATH="$PATH:.tools/uv/bin" uv pip install --python .venv/bin/python --target "$flink.partial" --no-deps \
    --no-build-isolation --require-hashes --requirement "$lock" >>"$log" 2>&1 || {
    echo "error: Flink's jars could not be fetched; check the network and the package index, then run the same command again. Details: $log" >&2
    exit 1
}
cp "$lock" "$flink.partial/made-from"
mv "$flink.partial" "$flink"
