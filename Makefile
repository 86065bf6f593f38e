# Bytecode makes importing TensorFlow take 4 seconds a process instead of 10.
unexport PYTHONDONTWRITEBYTECODE

SHELL := /bin/bash
.SHELLFLAGS := -o pipefail -c

PYTHON ?= python3.11
BIN := .venv/bin
READY := .venv/.ready
PEERS := .venv-quality/.ready
QUALITY := tests/benchmarks/quality

.PHONY: help install run test lint format bench bench-quality golden lock clean

help:  ## Lists the targets.
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

install: $(READY)  ## Creates .venv with exactly the packages of requirements.lock.

# pip installs only uv, by the hash that the lock names; uv then installs the rest in parallel.
$(READY): requirements.lock pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "recloop needs Python 3.11 and '$(PYTHON)' is not on the PATH: install it, or name it with 'make PYTHON=/path/to/python3.11'." >&2; exit 2; }
	@echo "Creating .venv from requirements.lock (about 4 GB on disk, some minutes the first time) ..."
	@$(PYTHON) -m venv --clear .venv
	@sed -n '/^uv==/,/[^\\]$$/p' requirements.lock > .venv/uv.requirements
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r .venv/uv.requirements
	@VIRTUAL_ENV=.venv $(BIN)/uv pip install --require-hashes --no-deps --compile-bytecode -r requirements.lock 2>&1 | grep -v '^ [+~-] '
	@VIRTUAL_ENV=.venv $(BIN)/uv pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $(READY)

run: $(READY)  ## Fetches MovieLens, trains, releases and serves version 1, and asks it for recommendations.
	@$(BIN)/recloop demo

test: $(READY)  ## Runs the test suite.
	$(BIN)/python -m pytest

lint: $(READY)  ## Checks style, types and the arrows of the house.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY)  ## Formats the code and mends what ruff can mend.
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(READY)  ## Runs the benchmarks: each prints ratios against a baseline of the same run.
	$(BIN)/python -m tests.benchmarks

bench-quality: $(READY) $(PEERS)  ## Tunes and compares the models with well-known ones, and writes docs/benchmarks.md.
	$(BIN)/python -m tests.benchmarks.quality

# The peers' packages are no part of the product: an environment of their own, which exchanges files.
$(PEERS): $(QUALITY)/requirements.lock | $(READY)
	@$(BIN)/uv venv --quiet --clear --python $(BIN)/python .venv-quality
	@VIRTUAL_ENV=.venv-quality $(BIN)/uv pip install --quiet --require-hashes --no-deps --compile-bytecode -r $<
	@touch $@

golden: $(READY)  ## Writes the golden files of the compiled pipelines anew, after an intended change.
	$(BIN)/python -m tests.pipelines.test_compiling

lock: $(READY)  ## Resolves pyproject.toml into requirements.lock again.
	$(BIN)/uv pip compile pyproject.toml --extra dev --python-version 3.11 --generate-hashes --no-annotate --no-header --output-file requirements.lock
	$(BIN)/uv pip compile $(QUALITY)/requirements.in --python-version 3.11 --generate-hashes --no-annotate --no-header --output-file $(QUALITY)/requirements.lock

clean:  ## Removes the environment and everything that runs wrote.
	rm -rf .venv .venv-quality .recloop
