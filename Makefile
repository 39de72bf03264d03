# The same names run in CI. Every target is safe to run again.
PYTHON := .venv/bin/python
.DEFAULT_GOAL := help
.PHONY: help install demo test lint types format golden docs chaos bench simulate fuzz audit lock clean

help: ## Show this help
	@grep -E '^[a-z]+:.*## ' Makefile | sed -E 's/:.*## /\t/' | expand -t 12

install: ## Install what is missing: Debian packages and the virtual environment
	@bash scripts/install.sh

demo: install ## Run a load balancer with real traffic; Ctrl-C removes everything
	@$(PYTHON) -m statera demo

test: install ## Run all tests
	@$(PYTHON) -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder --max-worker-restart 0

lint: install ## Check style, import rules and types
	@$(PYTHON) -m ruff check .
	@$(PYTHON) -m ruff format --check .
	@$(PYTHON) -c 'from importlinter.cli import lint_imports_command as run; run()'
	@$(MAKE) --no-print-directory types

types: install ## Check types
	@$(PYTHON) -m mypy

format: install ## Format the code
	@$(PYTHON) -m ruff check --fix .
	@$(PYTHON) -m ruff format .

golden: install ## Rewrite the golden files from what the code renders now
	@$(PYTHON) -m tests.golden.update

docs: install ## Write the tables of options and metrics into their pages
	@$(PYTHON) -m tests.unit.docs.update

chaos: install ## Five minutes of faults on several hosts under traffic and edits; prints the seed
	@$(PYTHON) -m tests.chaos

bench: install ## Measure against the budgets, in about ten minutes; docs/performance.md explains the table
	@$(PYTHON) -m bench

simulate: install ## Play 10,000 seeds of the simulation; SEEDS=n so many, SEED=n one with its story
	@$(PYTHON) -m tests.simulation $(if $(SEED),--seed $(SEED),--seeds $(or $(SEEDS),10000))

fuzz: install ## Five minutes of changed bytes for every parser of what others send; SECONDS=n
	@$(PYTHON) -m tests.fuzz --seconds $(or $(SECONDS),300)

audit: install ## Look for advisories on the locked packages, where a database of them can be reached
	@bash scripts/audit.sh

lock: install ## Resolve the dependencies again into requirements.lock
	@bash scripts/lock.sh

clean: ## Remove what a demonstration left, the virtual environment and caches
	@if [ -x $(PYTHON) ]; then $(PYTHON) -m statera clean; fi
	@rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist statera.egg-info
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
