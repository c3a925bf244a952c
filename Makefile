# Two commands need nothing but Python 3.11 with venv, and make: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
MANIFESTS := manifests
# A service starts in a third of the time when its imports are compiled, and tests start hundreds.
unexport PYTHONDONTWRITEBYTECODE
LOCK = $(RUN) -m uv pip compile --quiet --universal --generate-hashes --python-version 3.11

.PHONY: help demo demo-node up node test faults installs bench unit lint generate lock image tools test-tools clean

help: ## Shows this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

demo: tools ## The whole story, unattended: two subscribers pay, link, chat; one leaves
	$(RUN) -m nbhd_local demo

demo-node: tools ## The same story with the platform in containers, installed by its chart on a real node (root, Debian)
	$(RUN) -m nbhd_local demo-node

up: tools ## The same world, left running: prints URLs, the KUBECONFIG line and what to try
	$(RUN) -m nbhd_local up

node: tools ## An empty cluster with a real node that runs containers (root, Debian): prints how to use it
	$(RUN) -m nbhd_local node

test: lint test-tools ## Everything that CI runs
	$(RUN) -m pytest -n 3 --dist loadgroup -m "not all_faults and not all_installs" tests

faults: tools ## Every service killed before and after each of its effects, every call to Azure failing in every way (25 minutes)
	$(RUN) -m pytest -n 3 --dist loadgroup tests/faults

installs: test-tools ## Every way to install and the upgrade from the last release, in real Pods (root, Debian; 10 minutes)
	$(RUN) -m pytest -m all_installs -rP tests/node

bench: tools ## How the operator does with 10,000 and 100,000 tenants (half an hour; sizes: make bench BENCH="--tenants 1000")
	$(RUN) -m tests.bench $(BENCH)

unit: $(VENV)/.synced ## Tests that need no cluster, in seconds
	$(RUN) -m pytest -n 2 tests/unit

lint: $(VENV)/.synced ## Formatting, lint, types, layers
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

generate: $(VENV)/.synced ## Writes manifests and the generated parts of the chart
	$(RUN) -m nbhd_crds.api.generate $(MANIFESTS)
	$(RUN) -m nbhd_local.chart

lock: $(VENV)/.synced ## Pins all requirements by hash
	$(LOCK) pyproject.toml -o requirements.txt
	$(LOCK) local/pyproject.toml -c requirements.txt -o requirements-local.txt
	$(LOCK) --extra dev pyproject.toml local/pyproject.toml -o requirements-dev.txt
	$(LOCK) requirements-build.in -c requirements-dev.txt -o requirements-build.txt
	$(LOCK) requirements-go.in -o requirements-go.txt

image: $(VENV)/.synced ## The platform's container image, as an archive (needs root; with Docker: docker build .)
	@$(RUN) -m nbhd_local.image

tools: $(VENV)/.synced
	@$(RUN) -m nbhd_local.tools

test-tools: tools
	@$(RUN) -m nbhd_local.tools all
	@$(RUN) -m nbhd_local.node

$(VENV)/.synced: requirements-dev.txt pyproject.toml local/pyproject.toml
	@echo "[setup] making $(VENV) from requirements-dev.txt (about 20 s)"
	@test -x $(RUN) || $(PYTHON) -m venv $(VENV)
	@$(RUN) -m uv --version >/dev/null 2>&1 || $(RUN) -m pip install --quiet --disable-pip-version-check uv
	@$(RUN) -m uv pip sync --quiet --compile-bytecode --require-hashes --python $(RUN) requirements-dev.txt
	@$(RUN) -m uv pip install --quiet --no-deps --no-build-isolation --python $(RUN) -e . -e local
	@touch $@

clean: ## Removes the virtual environment (built tools stay in the per-user cache)
	rm -rf $(VENV)
