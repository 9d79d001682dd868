#!/bin/sh
# Installs the packages of the container image into /opt/vqvae; run by the Dockerfile.
#
#     scripts/image_packages.sh LOCK [--extra NAME]
#
# What pyproject.toml asks for and no packages of the tests, in the lock's versions, by hash.
set -eu
lock=$1
shift
if [ -e /run/secrets/ca ]; then export SSL_CERT_FILE=/run/secrets/ca; fi
index=$(python3 -m pip config get global.index-url 2>/dev/null || true)
uv venv --quiet --python /usr/bin/python3 /opt/vqvae
uv pip install --quiet --python /opt/vqvae/bin/python ${index:+--default-index "$index"} \
    --require-hashes --requirement pyproject.toml "$@" --constraint "$lock"
# What is for compiling against the libraries and for testing and debugging them, not for running
# them; TensorFlow requires libclang and does not load it.
cd /opt/vqvae/lib/python3*/site-packages
rm -rf tensorflow/include pyarrow/include clang
for package in numpy pandas pyarrow scipy sklearn; do
    find "$package" -type d -name tests -prune -exec rm -rf {} +
done
find . -name '*.a' -delete
# A sixth of TensorFlow's bytes are names for a debugger.
find tensorflow -name '*.so*' -type f -exec strip --strip-unneeded {} +
