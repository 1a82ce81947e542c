# The verbs of the project; `make help` lists them.
PYTHON ?= python3
VENV   ?= .venv
BIN     = $(VENV)/bin
STAMP   = $(VENV)/.stamp

.PHONY: help setup serve test check clients soak bench bench-store bench-observatory lint fix docs

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable . --group dev
	$(BIN)/python -m compileall -q headwater
	@touch $(STAMP)

setup: $(STAMP) ## make the virtual environment

serve: $(STAMP) ## a working hub on embedded defaults (DATA=..., HOST=..., PORT=...)
	$(BIN)/headwater serve $(if $(DATA),--data "$(DATA)") $(if $(HOST),--host "$(HOST)") $(if $(PORT),--port "$(PORT)")

test: $(STAMP) ## set up all that the tests need, and run them
	scripts/system-packages
	$(BIN)/python scripts/clients/setup.py
	$(BIN)/python scripts/tests

check: $(STAMP) ## the quick ones: tidy and unit
	$(BIN)/python -m pytest -q -n 2 tests/tidy tests/unit

clients: $(STAMP) ## the real clients alone
	$(BIN)/python scripts/clients/setup.py
	$(BIN)/python -m pytest -q tests/clients

soak: $(STAMP) ## the long ones: an hour of kill -9 on the store (HEADWATER_SOAK_S=3600), a churn of all requests (HEADWATER_CHURN_S=300), 20 GB uploads: 95 minutes
	$(BIN)/python -m pytest -q -m soak tests

bench: $(STAMP) ## the bars of the design, as CPU-seconds and ratios
	$(BIN)/python -m benchmarks

bench-store: $(STAMP) ## what the store leaves of real derivatives, beside BitX
	$(BIN)/python -m benchmarks.store

bench-observatory: $(STAMP) ## three million models, beside pandas
	$(BIN)/python -m benchmarks.observatory

lint: $(STAMP) ## ruff, mypy, import-linter
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && $(BIN)/lint-imports

fix: $(STAMP) ## what ruff can mend by itself
	$(BIN)/ruff check --fix . ; $(BIN)/ruff format .

docs: $(STAMP) ## make the reference anew
	$(BIN)/python scripts/reference.py

