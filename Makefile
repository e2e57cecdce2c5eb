# `make demo` analyses photos and says where the report is; `make test` passes the tests. Both make what they need.
PYTHON ?= python3
PHOTOS ?=
REPORT ?= demo-report
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test check docs clean

$(VENV)/.demo: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -e '.[demo]'
	touch $@

$(VENV)/.test: pyproject.toml $(VENV)/.demo
	$(BIN)/python -m pip install --quiet -e '.[test]'
	touch $@

demo: $(VENV)/.demo
	$(BIN)/mien models get --all
	$(BIN)/python -m mien.cli.demo "$(REPORT)" $(if $(PHOTOS),"$(PHOTOS)")

test: $(VENV)/.test
	$(BIN)/mien models get --all
	$(BIN)/python -m pytest

check: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(VENV)/.demo
	$(BIN)/python -m pip install --quiet -e '.[docs]'
	$(BIN)/mkdocs build --strict

clean:
	rm -rf $(VENV) $(REPORT) site
