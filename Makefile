# Everything here works from a fresh clone with Python 3.11+, git and make.

PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3.14 python3; do \
	$$p -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/installed
TYPED := dripd $(wildcard tests/typing)

.DEFAULT_GOAL := help
.PHONY: help install compiled demo test check lint format bench snapshots docs lock clean

help:  ## Show what can be made
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(STAMP)  ## Make .venv with all that the demo, the tests and the benchmarks need

$(STAMP): requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "make: no Python 3.11 or newer with venv and ensurepip on PATH;" \
		"install one (Debian: apt-get install python3 python3-venv) or say make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

compiled: install  ## Compile what a step passes through to C, in build/compiled; needs a C compiler
	@rm -rf build/compiled && mkdir -p build/compiled
	@cp -Rp bench contrib docs dripd sql tests CHANGELOG.md LICENSE Makefile README.md pyproject.toml requirements.lock build/compiled
	cd build/compiled && HATCH_BUILD_HOOKS_ENABLE=true $(abspath $(BIN))/python -m pip wheel --quiet --disable-pip-version-check \
		--no-deps --no-build-isolation --wheel-dir dist .
	@echo "build/compiled/dist/*.whl to install; PYTHONPATH=build/compiled dripd bench run http to try"

demo: install  ## Tell the story of dripd, on a Postgres of its own
	@$(BIN)/dripd demo

test: install  ## Run every test, on a Postgres of their own
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist worksteal

check: lint test  ## Formatting, lint, import contracts, types, and every test

lint: install  ## All of check but the tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports --no-cache
	$(BIN)/mypy --strict $(TYPED)

format: install  ## Format the code and mend what ruff can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

BENCHES ?= engine http lateness backlog admit replies
RUNS ?= 5

bench: install  ## Run the engine's benchmarks, each the best of RUNS, to build/bench/NAME.json
	@mkdir -p build/bench
	@for name in $(BENCHES); do \
		$(BIN)/dripd bench run $$name --runs $(RUNS) --json > build/bench/$$name.json || exit 1; \
		cat build/bench/$$name.json; done

snapshots: install  ## Write the console's snapshots anew; look at their diff
	DRIPD_RENEW=1 $(BIN)/python -m pytest -q tests/tui/test_snapshots.py
	git diff --stat -- tests/tui/snapshots

docs: install  ## Build the site and the manual pages
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r docs/requirements.lock
	$(BIN)/python -m sphinx --quiet --fail-on-warning --keep-going -b dirhtml docs build/docs/html
	$(BIN)/python -m sphinx --quiet --fail-on-warning --keep-going -b man docs build/docs/man
	@echo "build/docs/html/index.html, build/docs/man/dripd.8"

lock: $(STAMP)  ## Renew requirements.lock; names no package index
	$(PYTHON) -m venv --clear build/lock
	build/lock/bin/python -m pip install --quiet --disable-pip-version-check 'pip-tools>=7.5'
	CUSTOM_COMPILE_COMMAND='make lock' build/lock/bin/pip-compile --quiet --no-config --upgrade \
		--extra console --extra pg --extra dev --build-deps-for editable --strip-extras --allow-unsafe --generate-hashes \
		--no-annotate --no-header --no-emit-options --no-emit-index-url --no-emit-find-links \
		--no-emit-trusted-host --output-file requirements.lock pyproject.toml
	CUSTOM_COMPILE_COMMAND='make lock' build/lock/bin/pip-compile --quiet --no-config --upgrade \
		--extra docs --constraint requirements.lock --strip-extras --allow-unsafe --generate-hashes \
		--no-annotate --no-header --no-emit-options --no-emit-index-url --no-emit-find-links \
		--no-emit-trusted-host --output-file docs/requirements.lock pyproject.toml
	rm -r build/lock

clean:  ## Remove what was built, and the virtual environment
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
