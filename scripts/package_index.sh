# shellcheck shell=bash
# To be sourced: uv gets the package index and the certificates that pip of $python is told of.

export UV_NO_PROGRESS=1 UV_PYTHON_DOWNLOADS=never
# The system's certificates, by the older and the newer name of the setting.
export UV_NATIVE_TLS=${UV_NATIVE_TLS:-1} UV_SYSTEM_CERTS=${UV_SYSTEM_CERTS:-1}
# An index or a certificate bundle that pip is told of serves uv as well.
index=${PIP_INDEX_URL:-$("${python:?}" -m pip config get global.index-url 2>/dev/null || true)}
if [ -n "$index" ] && [ -z "${UV_INDEX_URL:-}" ]; then export UV_DEFAULT_INDEX=${UV_DEFAULT_INDEX:-$index}; fi
if [ -n "${PIP_CERT:-}" ]; then export SSL_CERT_FILE=${SSL_CERT_FILE:-$PIP_CERT}; fi
