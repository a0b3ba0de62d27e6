# `make run` and `make test` need git, make and python3 >= 3.11; they install the rest themselves.
SHELL := /bin/bash
PY := .venv/bin/python
STAMP := .venv/.installed

.PHONY: help run test check setup lab clean
help:  ## Show this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

run: setup  ## A lab of real VMs, agents and controller on this machine; Ctrl-C takes it down
	@$(PY) -m evenkeel demo

test: setup check  ## Everything: make check, then integration on real libvirt, PostgreSQL, Chromium
	@$(PY) -m pytest tests/integration -q

check: setup  ## Lint, types, import rules, unit and property tests (no root, a minute)
	@.venv/bin/ruff format --check .
	@.venv/bin/ruff check .
	@.venv/bin/mypy
	@.venv/bin/lint-imports
	@$(PY) -m pytest tests --ignore=tests/integration -q -n auto

lab: setup  ## Only the lab: hosts and guests, without agents and controller
	@$(PY) -m evenkeel lab up

setup: ## Install what is missing (apt and pip)
	@./scripts/setup

clean:  ## Take the lab down and remove everything made here
	@if [ -x $(PY) ]; then $(PY) -m evenkeel lab down || true; fi
	rm -rf .venv .lab .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
