# `make help` lists what there is. Needs Python 3.11 to 3.13, Java 17 or 21, and make; the rest is fetched by `make setup`.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# The first of these that is new (and old) enough; name your own with PYTHON=...
PYTHON ?= $(shell for p in python3.11 python3 python3.12 python3.13; do \
	if $$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; \
	then echo $$p; exit; fi; done; echo python3)

BIN := .venv/bin
export LAKEHOUSE_CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/provable-lakehouse
export PYTHONUNBUFFERED := 1

CODE := lakehouse quality streaming batch orchestration infra

.PHONY: help
help: ## list these targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-11s %s\n", $$1, $$2}'

.PHONY: setup
setup: ## virtual environment, Python packages and JVM jars, all checked by hash; a second run does nothing
	@$(PYTHON) infra/setup/check_machine.py
	@$(PYTHON) infra/setup/install.py

.PHONY: demo
demo: setup ## the whole way on real parts, counted and compared (ORDERS=<csv> for a real invoice file)
	@$(BIN)/lakehouse demo $(if $(ORDERS),--orders $(ORDERS))

.PHONY: demo-killed
demo-killed: setup ## a demo that is killed in the middle (kill -9, with its stack), then a demo that must end green
	@$(BIN)/python -m infra.demo.killed $(ARGS)

.PHONY: test
test: setup ## every test, with the embedded stack
	@$(BIN)/python -m pytest $(ARGS)

.PHONY: fuzz
fuzz: setup ## thousands of random change logs through the merge, against a fold in plain Python
	@FUZZ_LOGS=500 FUZZ_ROUNDS=10 $(BIN)/python -m pytest tests/batch/test_merge_order.py --timeout 7200 $(ARGS)

.PHONY: check
check: setup ## format, lint, types and the fast tests, in under three minutes
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy
	@$(BIN)/python -m pytest -q -m 'not slow and not integration' $(ARGS)

.PHONY: format
format: setup ## rewrite the code in the one format
	@$(BIN)/ruff check --quiet --fix-only .
	@$(BIN)/ruff format --quiet .

.PHONY: lint
lint: setup ## style and likely mistakes
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .

.PHONY: types
types: setup ## type check, strict
	@$(BIN)/mypy

.PHONY: bench
bench: setup ## records per CPU-second against plain Spark, as ratios
	@$(BIN)/lakehouse bench $(ARGS)

.PHONY: up
up: setup ## start the embedded stack (twice is fine)
	@$(BIN)/lakehouse up

.PHONY: down
down: setup ## stop the embedded stack, keep its data
	@$(BIN)/lakehouse down

.PHONY: status
status: setup ## what runs: pid, port, memory, health
	@$(BIN)/lakehouse status

.PHONY: lock
lock: setup ## resolve the Python packages again and write requirements.lock (needs network)
	@$(BIN)/python -m pip install -q --require-hashes -r infra/setup/uv.txt
	@$(BIN)/python -m uv lock --quiet
	@$(BIN)/python -m uv export --quiet --frozen --all-extras --all-groups --no-emit-project \
		--format requirements-txt --no-header -o requirements.lock

.PHONY: clean
clean: ## remove what tools leave behind (not .venv, not .lakehouse)
	@rm -rf build ./*.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis dbt/target dbt/logs
	@find $(CODE) tests -name __pycache__ -type d -prune -exec rm -rf {} +
