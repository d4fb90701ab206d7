# Every target sets up what it needs by itself: a bare Python 3.11-3.13 and a package index are enough.
# PYTHON=python3.12 make test   chooses another interpreter.  make demo ARGS="--trucks 40 --speed 10"   passes options on.
PYTHON ?= python3
UV_VERSION := 0.13.9
TOOLS := build/tools
UV := $(TOOLS)/bin/uv
BIN := .venv/bin
READY := .venv/.ready
ARGS ?=

.PHONY: demo test check format bench faults docs-plots clean setup help

help: ## what the targets do
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/:/' | sort

demo: $(READY) ## the whole system on a simulated fleet, live figures in the terminal
	@$(BIN)/python -m simulators demo $(ARGS)

test: $(READY) ## all tests
	@$(BIN)/python -m pytest -n auto --dist loadfile $(ARGS)

check: $(READY) ## what a change must pass: format, lint, types, import contracts, tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/python -m pytest -n auto --dist loadfile $(ARGS)

format: $(READY) ## put the code in form
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(READY) ## benchmarks; prints a table and writes build/bench.json
	@$(BIN)/python -m tests.bench $(ARGS)

faults: $(READY) ## real processes killed, cut off and starved for some 20 minutes; writes tests/system/RELIABILITY.md
	@$(BIN)/python -m tests.system.faults $(ARGS)

docs-plots: $(READY) ## fuel model beside published points; writes build/plots
	@$(BIN)/python -m tests.plots $(ARGS)

setup: $(READY) ## install what is locked, compile the kernels

clean: ## remove the environment, caches and everything built
	rm -rf .venv build .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# numba keeps compiled kernels beside their source and looks at one file only: after any change they are all made anew.
$(READY): uv.lock pyproject.toml $(UV) $(wildcard stream/*.py simulators/*.py) ingest/frame.py devices/signals.py
	@UV_PROJECT_ENVIRONMENT=.venv $(UV) sync --quiet --locked --all-extras --python $(PYTHON)
	@find stream ingest simulators -name '*.nb[ic]' -delete
	@echo "compiling the kernels (once after each change) ..."
	@$(BIN)/python -m simulators warm
	@touch $@

$(UV):
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
		{ echo "fleetco2 needs Python 3.11, 3.12 or 3.13; $(PYTHON) is $$($(PYTHON) --version 2>&1). Say PYTHON=python3.12 make ..."; exit 1; }
	@$(PYTHON) -m venv $(TOOLS) || { echo "$(PYTHON) has no venv module; on Debian: apt-get install python3-venv"; exit 1; }
	@$(TOOLS)/bin/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION) || \
		{ rm -rf $(TOOLS); echo "no package index could be reached to install uv $(UV_VERSION)"; exit 1; }
