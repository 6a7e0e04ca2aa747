# Airloom's commands. Each makes what it needs (a virtual environment in .venv, pinned by constraints.txt)
# the first time, and works offline after that.
#
#   make demo        four hosts on this machine, from a model to a report
#   make test        the tests; `make test-long` adds the long ones
#   make lint        style, imports, types
#   make bench       figures beside their targets
#   make docs        the documentation as a site
#   make clean       remove what these made, but for .venv; `make distclean` removes that too
#
# PYTHON=python3.12 chooses an interpreter, ARGS="..." adds to the command that is run.

SHELL := /bin/bash
.DEFAULT_GOAL := help
VENV ?= .venv
ARGS ?=

ifndef PYTHON
PYTHON := $(shell for p in python3 python3.12 python3.11 python3.13; do \
  $$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null && { echo $$p; break; }; done)
endif

PY := $(VENV)/bin/python
PIP := $(PY) -m pip install -qq --disable-pip-version-check --no-input -c constraints.txt
TORCH := $(shell grep '^torch==' constraints.txt)
# A change of any of these makes the environment anew.
STATE := $(shell { $(PYTHON) -V; cat pyproject.toml constraints.txt; } 2>/dev/null | sha256sum | cut -c1-16)
READY := $(VENV)/ready-$(STATE)
DOCS_READY := $(VENV)/docs-ready-$(STATE)

export PYTHONUTF8 := 1
ONE_THREAD := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1

.PHONY: help demo test test-long lint format bench docs wheel clean distclean

help:
	@sed -n '/^#   make/s/^# *//p' Makefile

$(READY):
	@if [ -z "$(PYTHON)" ]; then echo "make: Airloom needs Python 3.11, 3.12 or 3.13: install one, or name it with PYTHON=..." >&2; exit 2; fi
	@if [ -x $(PY) ] && [ "$$($(PY) -V 2>&1)" != "$$($(PYTHON) -V 2>&1)" ]; then rm -rf $(VENV); fi
	@if [ ! -x $(PY) ]; then echo "making $(VENV) with $$($(PYTHON) -V)"; $(PYTHON) -m venv $(VENV); fi
	@echo "installing $(TORCH)"
	@$(PIP) "$(TORCH)"
	@echo "installing airloom and what its tests need"
	@$(PIP) -e ".[torch,dev]"
	@rm -f $(VENV)/ready-* $(VENV)/docs-ready-*
	@touch $@

$(DOCS_READY): $(READY)
	@echo "installing what the documentation needs"
	@$(PIP) -e ".[docs]"
	@touch $@

demo: $(READY)
	@$(VENV)/bin/airloom demo $(ARGS)

# Tests of processes, sockets and time run one after the other, the rest on two cores.
SERIAL := tests/e2e tests/runtime

test: $(READY)
	@$(ONE_THREAD) $(PY) -m pytest -n 2 --dist loadfile $(SERIAL:%=--ignore=%) $(ARGS)
	@$(ONE_THREAD) $(PY) -m pytest $(SERIAL) $(ARGS)

test-long: $(READY)
	@$(ONE_THREAD) $(PY) -m pytest -n 2 --dist loadfile -m 'long or not long' --timeout 3600 $(SERIAL:%=--ignore=%) $(ARGS)
	@$(ONE_THREAD) $(PY) -m pytest -m 'long or not long' --timeout 3600 $(SERIAL) $(ARGS)

lint: $(READY)
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/lint-imports
	@$(VENV)/bin/mypy

format: $(READY)
	@$(VENV)/bin/ruff check --fix .
	@$(VENV)/bin/ruff format .

# A target that is missed is shown, and is no error: machines differ.
bench: $(READY)
	@$(ONE_THREAD) $(PY) benchmarks/harness.py $(ARGS) || [ $$? -eq 1 ]

docs: $(DOCS_READY)
	@$(PY) docs/make_cli.py
	@NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --strict --quiet --site-dir build/site
	@echo "see build/site/index.html"

wheel: $(READY)
	@$(PY) -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir dist .
	@ls dist/*.whl

clean:
	rm -rf build dist out airloom-demo .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find src tests benchmarks experiments docs -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean
	rm -rf $(VENV)
