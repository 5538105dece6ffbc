# Everything a newcomer needs, with Python (3.11 or newer) and make alone. `make help` lists the targets.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.installed

.PHONY: help demo test lint types format bench bench-quick clean reference docs

help: ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "%-12s %s\n", $$1, $$2}'

$(READY): pyproject.toml
	@test -n "$(PYTHON)" || { echo "error: no Python >= 3.11 found; install one, or say: make PYTHON=/path/to/python3"; exit 1; }
	@echo "Setting up $(VENV) (about a minute, once) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { echo "error: no venv module; install python3-venv"; exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $(READY)

demo: $(READY) ## Watch real purchases go in and slates come out
	@$(BIN)/crossaisle demo $(ARGS)

test: $(READY) ## Run all tests, on a real Kafka that they start themselves
	@$(BIN)/python -m pytest $(ARGS)

lint: $(READY) ## Check style and layers
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

types: $(READY) ## Check types
	@$(BIN)/mypy

format: $(READY) ## Put the code into the house form
	@$(BIN)/ruff check --fix-only --quiet . ; $(BIN)/ruff format .

reference: $(READY) ## Write the generated pages of the documentation anew
	@$(BIN)/python docs/make_reference.py
	@$(BIN)/python -m stream_app.settings_table --write README.md

docs: reference ## Build the documentation into build/docs; a dead link is an error
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet --config-file docs/site/mkdocs.yml
	@echo "built: build/docs/index.html"

$(VENV)/.bench: $(READY)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[bench]'
	@touch $(VENV)/.bench

bench: $(VENV)/.bench ## Measure speed and quality on this machine: all scenarios, or ARGS='B1 B4'
	@$(BIN)/python -m benchmarks $(ARGS)

bench-quick: $(VENV)/.bench ## Check that the benchmarks run, on few events
	@$(BIN)/python -m benchmarks --quick $(ARGS)

clean: ## Remove what the targets made
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage build dist *.egg-info
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
