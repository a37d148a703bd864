.DEFAULT_GOAL := help
PYTHON ?= python3
# The newest Go version of fixtures/versions.toml, which are in ascending order.
GO ?= $(shell sed -n '/^\[\[toolchain/,/^$$/s/^version = "\([0-9]*\.[0-9]*\).*/\1/p' fixtures/versions.toml | tail -n 1)
VENV := .venv
BIN := $(VENV)/bin
MINIMUM := build/minimum
# Processes, each with whole files: tests of a file share Go programs. Two cores are busy with three: tests often wait.
PARALLEL := -n 3 --dist loadfile

.PHONY: help venv run test test-matrix test-minimum check lint imports types format layouts bench clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

venv: $(VENV)/.installed  ## make the environment and install spyglass with its development tools

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@

run: venv  ## build a small Go server, start it, show its `spyglass summary`, end it
	$(BIN)/python fixtures/run.py $(GO)

test: venv  ## run the tests with the newest Go toolchain
	$(BIN)/python -m pytest -q $(PARALLEL)

test-matrix: venv  ## run what `test` leaves out: the other Go versions, the finished programs, slow tests
	SPYGLASS_GO=all $(BIN)/python -m pytest -q $(PARALLEL) -m 'matrix or slow' --without-short

test-minimum: $(MINIMUM)/.installed  ## run unit tests and a live one with the lowest versions of our packages
	$(MINIMUM)/bin/python -m pytest -q $(PARALLEL) tests/unit tests/integration/test_truth.py

$(MINIMUM)/.installed: pyproject.toml fixtures/minimum.py
	$(PYTHON) -m venv $(MINIMUM)
	$(MINIMUM)/bin/python -m pip install --quiet --disable-pip-version-check -e '.[dev]' `$(PYTHON) fixtures/minimum.py`
	@touch $@

check: lint imports types  ## lint, import directions, types

lint: venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

imports: venv
	$(BIN)/lint-imports

types: venv
	$(BIN)/mypy

format: venv  ## format the code and apply the fixes of ruff
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .

layouts: venv  ## make the table of struct layouts of one Go version: make layouts GO=1.27
	$(BIN)/python fixtures/layouts.py $(GO)

bench: venv  ## measure speed and what the target notices; prints ratios
	$(BIN)/python -m tests.bench

clean:  ## remove the environment and caches (not the downloads, which other checkouts share)
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
