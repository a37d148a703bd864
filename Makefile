.DEFAULT_GOAL := help
PYTHON ?= python3
# The newest Go version of fixtures/versions.toml, which are in ascending order.
GO ?= $(shell sed -n '/^\[\[toolchain/,/^$$/s/^version = "\([0-9]*\.[0-9]*\).*/\1/p' fixtures/versions.toml | tail -n 1)
VENV := .venv
BIN := $(VENV)/bin
MINIMUM := build/minimum
OTHER := build/$(notdir $(PYTHON))
# Processes, each with whole files: tests of a file share Go programs. Two cores are busy with three: tests often wait.
PARALLEL := -n 3 --dist loadfile

# Of `make soak`.
HOURS ?= 1

# Of `make fuzz`: seconds for each target, one target alone, a directory of inputs to go on from, random numbers, most inputs.
SECONDS ?= 60
TARGET ?=
CORPUS ?=
SEED ?= 0
RUNS ?= -1

.PHONY: help venv run test test-matrix test-minimum test-python test-vm fuzz check lint imports types format layouts binary image bench soak soak-serve clean

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

test-python:  ## run unit tests and a live one with another Python: make test-python PYTHON=python3.14
	$(MAKE) venv VENV=$(OTHER)
	$(OTHER)/bin/python -m pytest -q $(PARALLEL) tests/unit tests/integration/test_truth.py

fuzz: venv  ## read made inputs that look for harm: make fuzz SECONDS=3600 TARGET=elf CORPUS=~/corpus
	$(BIN)/python -m tests.fuzz --seconds $(SECONDS) --seed $(SEED) --runs $(RUNS) $(TARGET:%=--target %) $(CORPUS:%=--corpus %)

$(MINIMUM)/.installed: pyproject.toml fixtures/minimum.py
	$(PYTHON) -m venv $(MINIMUM)
	$(MINIMUM)/bin/python -m pip install --quiet --disable-pip-version-check -e '.[dev]' `$(PYTHON) fixtures/minimum.py`
	@touch $@

test-vm: venv  ## boot Debian's kernels with qemu and try spyglass in them: make test-vm VM=amd64-6.1
	$(BIN)/python -m tests.vm $(VM)

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

binary: venv  ## make build/spyglass, one executable for hosts without Python, with mmdebstrap and a Debian 11 root
	$(BIN)/python fixtures/binary.py

image:  ## build the container image spyglass with podman, from Containerfile
	podman build --tag spyglass:$$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml) .

bench: venv  ## measure speed and what the target notices; prints ratios
	$(BIN)/python -m tests.bench

soak: venv  ## observe programs for HOURS=1, kill and be killed; prints numbers
	$(BIN)/python -m tests.soak --hours $(HOURS)

soak-serve: venv  ## see for MINUTES=60 whether memory and file descriptors of `spyglass serve` stay as they are
	$(BIN)/python -m tests.soak.serve $(or $(MINUTES),60)

clean:  ## remove the environment and caches (not the downloads, which other checkouts share)
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
