# Everything a developer does often. A bare `make` explains itself.

.DEFAULT_GOAL := help
SHELL := /bin/sh

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PEERS := tests/bench/peers/requirements

# The first that is new enough is taken; name another with `make PYTHON=…`.
PYTHON ?=
CANDIDATES := $(PYTHON) python3 python3.13 python3.12 python3.11 python3.14

# Prints nothing and fails when it is too old.
IS_NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))

.PHONY: help
help: ## Explain the targets
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: setup
setup: $(READY) ## Install everything into .venv, exactly as locked (at once when that is done)
	@:

# The lock names everything, so nothing is resolved (--no-deps): pip, left to look for what `coverage[toml]` asks for, takes
# the newest there is and stops, because the lock names another. That nothing is missing, `pip check` says.
$(READY): requirements-dev.lock pyproject.toml
	@if ! [ -x $(BIN)/python ]; then \
	  found=""; \
	  for python in $(CANDIDATES); do \
	    if $$python -c '$(IS_NEW_ENOUGH)' 2>/dev/null; then found=$$python; break; fi; \
	  done; \
	  if [ -z "$$found" ]; then \
	    echo "Shoal needs Python 3.11 or newer, and none of these is one: $(CANDIDATES)." >&2; \
	    echo "Install one, or name it: make setup PYTHON=/path/to/python3" >&2; \
	    exit 1; \
	  fi; \
	  echo "Making $(VENV) with $$($$found --version) ($$found)"; \
	  $$found -m venv $(VENV) || { rm -rf $(VENV); exit 1; }; \
	elif ! $(BIN)/python -c '$(IS_NEW_ENOUGH)'; then \
	  echo "$(VENV) has $$($(BIN)/python --version), and Shoal needs 3.11 or newer: remove it with 'make clean'." >&2; \
	  exit 1; \
	fi
	@echo "Installing what requirements-dev.lock names"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements-dev.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@$(BIN)/python -m pip check --quiet --disable-pip-version-check
	@touch $@

.PHONY: up
up: setup ## Run a cluster of three nodes on this machine, to try it out
	@$(BIN)/shoal up

.PHONY: check
check: setup ## Look at the code without running it: lint, format, types, layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

.PHONY: test
test: check ## Check, then run the quick tests: core, contracts, shells, real nodes
	$(BIN)/pytest -m "not slow and not bench" tests/core --cov
	$(BIN)/pytest -m "not slow and not bench" --ignore=tests/core

.PHONY: test-all
test-all: setup ## Run the tests that take long, too (after `make test`)
	$(BIN)/pytest -m "slow and not bench"

.PHONY: chaos
chaos: setup ## Only this part of test-all: break real clusters, and judge what clients saw
	$(BIN)/pytest -m "slow and not bench" tests/chaos

.PHONY: autobahn
autobahn: setup ## Hold the WebSocket front to the Autobahn suite (needs a Python 2.7); a part of it: CASES=6.*,7.*
	@PYTHONPATH=tests $(BIN)/python -m support.autobahn $(if $(CASES),--cases '$(CASES)')

.PHONY: simulate
simulate: setup ## Play random lives of small clusters: SEEDS=10000 of them, or show one: SEED=4711
	@PYTHONPATH=tests $(BIN)/python -m support.simulate $(if $(SEED),--seed $(SEED),--seeds $(or $(SEEDS),10000))

.PHONY: fuzz
fuzz: setup ## Send rubbish to every parser; one for longer: TARGET=filters SECONDS=600, one again: INPUT=build/fuzz/…
	@PYTHONPATH=tests $(BIN)/python -m support.fuzz $(TARGET) $(if $(INPUT),--input $(INPUT)) --seconds $(or $(SECONDS),60) $(if $(KEEP),--keep)

.PHONY: bench
bench: setup ## Measure, on a machine that does nothing else; a part of it: ONLY=W1,fairness
	BENCH_PAGE=docs/reference/performance.md BENCH_ONLY="$(ONLY)" $(BIN)/pytest -m bench -s -q tests/bench

.PHONY: peers
peers: setup ## Install the other servers that `make bench` measures next to Shoal, into .venv-peers
	@[ -x .venv-peers/bin/python ] || $(BIN)/python -m venv .venv-peers
	.venv-peers/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r $(PEERS).lock

.PHONY: profile
profile: peers ## Show where the time of a workload goes, as flame graphs in build/profile: ONLY=W1
	@PYTHONPATH=tests $(BIN)/python -m support.bench_profile $(or $(ONLY),W1)

.PHONY: docs
docs: setup ## Write the parts of docs/ that are made from the code
	@mkdir -p docs/reference
	$(BIN)/shoal config --reference > docs/reference/configuration.md
	PYTHONPATH=tests $(BIN)/python -m support.reference_parts
	PYTHONPATH=tests $(BIN)/python -m support.bench_page

.PHONY: lock
lock: setup ## Find the newest versions that pyproject.toml allows, and write the lock files
	$(BIN)/uv pip compile $(LOCK) --upgrade pyproject.toml --output-file requirements.lock
	$(BIN)/uv pip compile $(LOCK) --upgrade pyproject.toml --group dev --constraint requirements.lock --output-file requirements-dev.lock
	$(BIN)/uv pip compile $(LOCK) --upgrade $(PEERS).in --output-file $(PEERS).lock

# For every platform and Python version at once, with the hash of every file, and without the name of a package index:
# where packages come from is for the machine that installs them to say.
LOCK := --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
        --no-annotate --custom-compile-command "make lock"

.PHONY: clean
clean: ## Remove what was made: .venv, node_modules, caches
	rm -rf $(VENV) .venv-peers .venv-autobahn build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage *.egg-info
	find . -name node_modules -prune -exec rm -rf {} +
	find cluster server plugins tests -name __pycache__ -prune -exec rm -rf {} +
