# Everything a developer, the commit hook and CI call. Needs Python >= 3.11, pip and make.
PYTHON ?= python3
SEEDS ?= 200
SEED_START ?= 1
MINUTES ?= 15
VENV   := .venv
BIN    := $(VENV)/bin
RUN    := $(VENV)/.installed
DEV    := $(VENV)/.installed-dev

# Every test process would compile all tests again, and every process of a wallet its modules.
export PYTHONDONTWRITEBYTECODE =

# Tests that start no server need no disk where memory has a gigabyte for their files.
IN_MEMORY = $(shell df -Pk /dev/shm 2>/dev/null | awk 'NR == 2 && $$4 > 1000000 { print "TMPDIR=/dev/shm" }')

.PHONY: up test unit browser screenshots e2e chaos lint format sim bench requirements wheels clean

PIP     = $(BIN)/pip --disable-pip-version-check --quiet install

$(RUN): requirements.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version) if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(PIP) --require-hashes -r requirements.txt
	$(PIP) --no-deps --no-build-isolation --editable .
	touch $@

$(DEV): $(RUN) requirements-dev.txt
	$(PIP) --require-hashes -r requirements-dev.txt
	touch $@

up: $(RUN)              ## install and run the whole wallet on this machine, until Ctrl-C
	$(BIN)/ewallet up

test: $(DEV) lint     ## everything that needs neither Docker nor a browser; CI runs `make browser e2e` too
	$(BIN)/pytest -m simulation tests/simulation --numprocesses auto --maxschedchunk 1
	$(BIN)/pytest -m "not simulation and not e2e and not browser" --ignore tests/browser --numprocesses auto --maxschedchunk 1 --durations 10

unit: $(DEV)          ## the inner loop: no server is started
	$(IN_MEMORY) $(BIN)/pytest -m "not server and not faults and not simulation and not e2e and not browser" --ignore tests/browser -q --numprocesses auto

browser: $(DEV)       ## the console in a real browser, which is installed if it is not there
	tests/browser/provide-chromium
	$(BIN)/pytest -m browser tests/browser

screenshots: $(DEV)   ## take the pictures in docs/images anew
	tests/browser/provide-chromium
	$(BIN)/python -m tests.browser.screenshots

e2e: $(DEV)           ## a whole cluster under docker compose, its containers killed and replaced under load
	$(BIN)/pytest -m e2e --timeout 900 tests/e2e

chaos: $(DEV)         ## fault after fault on such a cluster: make chaos MINUTES=<at most> SEED=<number>
	$(BIN)/python -m tests.e2e.chaos --minutes $(MINUTES) $(if $(SEED),--seed $(SEED))

lint: $(DEV)          ## style, types, layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(DEV)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

sim: $(DEV)           ## run the simulation: make sim SEEDS=<how many> SEED_START=<first>
	$(BIN)/python -m simulation $(SEEDS) $(SEED_START)

bench: $(DEV)         ## beside the PostgreSQL peer (docs/performance.md), and the four ways (docs/coordination.md)
	$(BIN)/python -m bench
	$(BIN)/python -m bench.coordination
	$(BIN)/python -m bench.coordinator_death

requirements: export CUSTOM_COMPILE_COMMAND = make requirements
requirements: $(DEV)  ## pin again, with hashes and without index addresses
	$(BIN)/pip-compile --quiet --generate-hashes --no-emit-index-url --no-emit-find-links --strip-extras --allow-unsafe --extra install --output-file requirements.txt pyproject.toml
	$(BIN)/pip-compile --quiet --generate-hashes --no-emit-index-url --no-emit-find-links --strip-extras --allow-unsafe --extra install --extra dev --constraint requirements.txt --output-file requirements-dev.txt pyproject.toml

wheels:                 ## for `docker compose build` where a build reaches no package index
	$(PYTHON) -m pip download --quiet --only-binary :all: --require-hashes --dest .wheels --requirement requirements.txt

clean:                  ## everything that was installed or cached; never the data
	rm -rf $(VENV) *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .wheels
