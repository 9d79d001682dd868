# The image of every task of the pipeline, and of the worker processes of a training.
#
#     docker build --tag vqvae .                                   CPU
#     docker build --tag vqvae:gpu --target gpu .                  with CUDA's libraries
#
# A package index other than the usual, and certificates for it, are lent to the build and stay
# out of the image:
#     --secret id=pip,src=/etc/pip.conf --secret id=ca,src=/etc/ssl/certs/ca-certificates.crt
ARG BASE=debian:trixie-slim

# --- Python, in all stages -----------------------------------------------------------------------
FROM ${BASE} AS python
RUN apt-get update -qq \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
        ca-certificates libgomp1 libstdc++6 python3 \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt /var/log/* \
    && ln -s /usr/bin/python3 /usr/local/bin/python

# --- The locked packages -------------------------------------------------------------------------
FROM python AS build
RUN apt-get update -qq \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
        g++ python3-dev python3-pip python3-setuptools
# The secrets are files that are there only while a command runs.
ENV PIP_CONFIG_FILE=/run/secrets/pip UV_NO_CACHE=1 UV_NO_PROGRESS=1 UV_PYTHON_DOWNLOADS=never \
    UV_COMPILE_BYTECODE=1
RUN --mount=type=secret,id=pip --mount=type=secret,id=ca \
    if [ -e /run/secrets/ca ]; then export PIP_CERT=/run/secrets/ca; fi \
    && python3 -m pip install --quiet --root-user-action=ignore --break-system-packages \
        --no-cache-dir 'uv>=0.9'
WORKDIR /src
COPY pyproject.toml setup.py README.md LICENSE requirements.lock requirements-gpu.lock ./
COPY scripts/image_packages.sh scripts/

FROM build AS packages-cpu
RUN --mount=type=secret,id=pip --mount=type=secret,id=ca \
    scripts/image_packages.sh requirements.lock

FROM build AS packages-gpu
RUN --mount=type=secret,id=pip --mount=type=secret,id=ca \
    scripts/image_packages.sh requirements-gpu.lock --extra gpu

# This project, apart: a change of it leaves the layer of the packages as it is.
FROM build AS project
COPY models models
COPY components components
COPY pipeline pipeline
COPY kubeflow kubeflow
COPY configs configs
COPY vqvae_command.py .
# The environment is empty; it is where the programs' first line will look for Python.
RUN uv venv --quiet --system-site-packages --python /usr/bin/python3 /opt/vqvae \
    && uv pip install --quiet --python /opt/vqvae/bin/python --no-deps --no-build-isolation \
        --target /opt/project .

# --- What runs -----------------------------------------------------------------------------------
FROM python AS runtime
ARG REVISION=unknown
LABEL org.opencontainers.image.title="vqvae-pipeline" \
    org.opencontainers.image.description="Tasks of the VQ-VAE training pipeline" \
    org.opencontainers.image.licenses="Apache-2.0" \
    org.opencontainers.image.revision="${REVISION}"
# The root file system may be read-only: what is written goes to HOME or /tmp.
RUN install -d -o 1000 -g 1000 /home/vqvae
ENV PATH=/opt/vqvae/bin:/opt/project/bin:/usr/local/bin:/usr/bin:/bin HOME=/home/vqvae \
    PYTHONPATH=/opt/project \
    PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 TF_CPP_MIN_LOG_LEVEL=2 \
    MPLCONFIGDIR=/tmp/matplotlib XDG_CACHE_HOME=/tmp/cache
WORKDIR /home/vqvae
USER 1000:1000
CMD ["vqvae", "--help"]

FROM runtime AS gpu
COPY --from=packages-gpu /opt/vqvae /opt/vqvae
COPY --from=project /opt/project /opt/project
RUN vqvae --help >/dev/null && python -c "import kubeflow.container.__main__, pipeline.dag"

FROM runtime AS cpu
COPY --from=packages-cpu /opt/vqvae /opt/vqvae
COPY --from=project /opt/project /opt/project
RUN vqvae --help >/dev/null && python -c "import kubeflow.container.__main__, pipeline.dag"
