# Every target brings its environment up first; see scripts/setup.sh.
#   make run ARGS="--config fashion_mnist"     PYTHON=/path/to/python3.12 chooses the interpreter
#   GPU=0 leaves CUDA's libraries out where there is an NVIDIA driver, GPU=1 brings them anyhow
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help
export PYTHON GPU
PYTEST := .venv/bin/python -m pytest -q
WORKERS := -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

help:
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(firstword $(MAKEFILE_LIST)) | expand -t 20

setup:
	@scripts/setup.sh

run: setup ## run the pipeline to a release, by default on the embedded digits; ARGS="--config F --data D"
	@.venv/bin/vqvae run $(ARGS)

test: setup ## run the tests; ARGS="-k name"
	@$(PYTEST) -m "not slow and not flink" $(WORKERS) $(ARGS)

test-slow: setup ## run the kill, soak and fuzz tests
	@$(PYTEST) -m "slow and not alone" $(WORKERS) $(ARGS) || [ $$? -eq 5 ] # 5: there are none
	@$(PYTEST) -m "slow and alone" $(ARGS) || [ $$? -eq 5 ]

test-flink: setup ## run the tests of Beam on workers in other processes, and with Flink's own (JDK 17)
	@scripts/flink.sh
	@$(PYTEST) -m flink $(ARGS) || [ $$? -eq 5 ] # 5: there are none

bench: setup ## run the benchmarks into benchmarks/results.md; ARGS="training sampling" for some
	@.venv/bin/python -m benchmarks $(ARGS)

gpu-check: setup ## hold this machine's GPUs against its CPU, into benchmarks/gpu.md
	@.venv/bin/python -m benchmarks.gpu_check $(ARGS) > benchmarks/gpu.partial && \
		mv benchmarks/gpu.partial benchmarks/gpu.md && cat benchmarks/gpu.md

lint: setup ## check style, types and shell scripts
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/mypy
	@.venv/bin/shellcheck scripts/*.sh .ci/run

lock: setup ## resolve the dependencies of pyproject.toml into the lock files; ARGS=--upgrade
	@PATH="$$PATH:.tools/uv/bin"; \
	lock="uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--no-emit-find-links --no-header $(ARGS) pyproject.toml"; \
	$$lock --extra dev -o requirements.lock && \
	$$lock --extra gpu --constraint requirements.lock -o requirements-gpu.lock
	@! grep -n '://' requirements*.lock || { echo "error: an address does not belong in a lock file" >&2; exit 1; }

image-check: setup ## build the container image without Docker and run a component in it (as root)
	@scripts/image_check.sh

clean: ## remove the environment and caches; runs/ and data/ stay
	@rm -rf .venv .tools .pytest_cache .ruff_cache .mypy_cache build dist *.egg-info
	@find . -name __pycache__ -type d -not -path './runs/*' -not -path './data/*' -prune -exec rm -rf {} +

.PHONY: help setup run test test-slow test-flink bench gpu-check lint lock image-check clean
