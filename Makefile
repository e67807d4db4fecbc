# Everything a developer, the commit hook and CI call. Needs Python >= 3.11, pip and make.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

.PHONY: up test unit lint format bench requirements clean

$(STAMP): requirements.txt requirements-dev.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version) if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

up: $(STAMP)            ## install and run the whole wallet on this machine, until Ctrl-C
	$(BIN)/ewallet up

test: $(STAMP) lint     ## everything CI runs
	$(BIN)/pytest

unit: $(STAMP)          ## the inner loop: no server is started
	$(BIN)/pytest -m "not server and not faults" -q

lint: $(STAMP)          ## style, types, layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(STAMP)         ## the single-request benchmark beside its PostgreSQL peer (docs/performance.md)
	$(BIN)/python -m bench

requirements: $(STAMP)  ## pin again, with hashes and without index addresses
	$(BIN)/pip-compile --quiet --generate-hashes --no-emit-index-url --no-emit-find-links --strip-extras --output-file requirements.txt pyproject.toml
	$(BIN)/pip-compile --quiet --generate-hashes --no-emit-index-url --no-emit-find-links --strip-extras --allow-unsafe --extra dev --constraint requirements.txt --output-file requirements-dev.txt pyproject.toml

clean:
	rm -rf $(VENV) .ewallet *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
