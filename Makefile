# One command for each job.  Everything is installed into $(VENV), once; delete it (`make clean`) to start over.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
OUT ?= build/payments
PYTEST_ARGS ?=
SOAK ?= 100

.DEFAULT_GOAL := help
.PHONY: help demo test check accept oracles soak bench packages clean

help: ## List the commands
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

demo: $(VENV)/.installed ## Check, trace and compile the example cluster
	@echo; echo '$$ npcompile check examples/payments'
	@$(BIN)/npcompile check examples/payments
	@echo; echo '$$ npcompile trace analytics/reporting production/payments-api tcp/8080 -f examples/payments'
	@$(BIN)/npcompile trace analytics/reporting production/payments-api tcp/8080 -f examples/payments
	@echo; echo '$$ npcompile emit examples/payments --target iptables -o $(OUT)'
	@$(BIN)/npcompile emit examples/payments --target iptables -o $(OUT)
	@ls $(OUT)

test: $(VENV)/.installed-dev packages ## Run all tests (the kernel's too, as root on Linux)
	$(BIN)/pytest -n auto $(PYTEST_ARGS)

check: $(VENV)/.installed-dev ## Lint, formatting and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

accept: $(VENV)/.installed-dev ## Rewrite golden files with what the tests get; review the change
	$(BIN)/pytest -n auto --accept $(PYTEST_ARGS)

oracles: ## Record again what a real API server says of the oracle cases (needs Go)
	tests/oracles/apiserver/record.sh

soak: $(VENV)/.installed-dev packages ## Packets by the million through the BPF datapath, against the evaluator; SOAK=100 is how many times as many as in CI, NPCOMPILE_SEED=… repeats a run
	NPCOMPILE_SOAK=$(SOAK) NPCOMPILE_REQUIRE_KERNEL=1 $(BIN)/pytest -q -rA -s tests/kernel/test_bpf_semantics.py tests/kernel/test_bpf_hostile.py -k 'programs or hostile'

bench: $(VENV)/.installed packages ## Measure, as ratios taken side by side
	$(BIN)/python bench/measure.py
	$(BIN)/python bench/scale.py
	$(BIN)/python bench/apply.py

packages:
	@.ci/packages

clean: ## Delete everything that was built or installed
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "npcompile needs Python 3.11 or newer; set PYTHON=")'
	@echo "installing into $(VENV)"
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "no venv; on Debian: apt-get install python3-venv" >&2; exit 1; }
	@$(BIN)/pip install --quiet --upgrade 'pip>=25.1'  # the first one that knows dependency groups
	@touch $@

$(VENV)/.installed: $(VENV)/.pip pyproject.toml
	@$(BIN)/pip install --quiet --editable .
	@$(BIN)/python -m compileall -q npcompile  # an editable install leaves that to the first run, and some never do it
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	@$(BIN)/pip install --quiet --group dev
	@touch $@
