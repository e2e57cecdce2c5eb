# `make demo` analyses photos and says where the report is; `make test` passes the tests. Both make what they need.
PYTHON ?= python3
PHOTOS ?=
REPORT ?= demo-report
VENV := .venv
BIN := $(VENV)/bin
# Handed on by the environment, so that spaces and quotes in paths need no care.
export PHOTOS REPORT

.PHONY: demo test check docs clean

$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo 'mien needs Python 3.11 or later: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)' >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	touch $@

$(VENV)/.demo: pyproject.toml $(VENV)/.made
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[demo]'
	touch $@

$(VENV)/.test: pyproject.toml $(VENV)/.made
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	touch $@

# PHOTOS=path takes your own photos, REPORT=folder another place for the report.
demo: $(VENV)/.demo
	$(BIN)/mien models get --all
	$(BIN)/python -m mien.cli.demo "$$REPORT" $${PHOTOS:+"$$PHOTOS"}

test: $(VENV)/.test
	$(BIN)/mien models get --all
	$(BIN)/python -m pytest

# Style, types, import rules and the documentation site.
check: $(VENV)/.test
	$(BIN)/ruff check --quiet .
	$(BIN)/ruff format --quiet --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

docs: $(VENV)/.test
	$(BIN)/mkdocs serve

clean:
	rm -rf $(VENV) "$$REPORT" site
