# make train   set up, then train RND on Montezuma's Revenge (a quick run)
# make test    set up, then lint, type-check and run every test
#
# PYTHON=python3.11 picks the interpreter; EXAMPLE=... another YAML; ARGS=... more options of `rllib train file`;
# PYTEST_ARGS=... more options of pytest. The set-up runs again only when setup.py or constraints.txt has changed.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
EXAMPLE ?= tuned_examples/montezuma_rnd_quick.yaml
ARGS ?=
PYTEST_ARGS ?=

BIN := .venv/bin
# Quiet: errors only. The recipes say what is being done.
PIP := PIP_DISABLE_PIP_VERSION_CHECK=1 $(BIN)/python -m pip install -qq -c constraints.txt
TORCH := $(shell grep '^torch==' constraints.txt)

.PHONY: help train test lint audit setup setup-dev clean
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

help:
	@sed -n 's/^# \{0,1\}//p' Makefile | head -5

train: setup
	$(BIN)/rllib train file $(EXAMPLE) $(ARGS)

# A worker per core, each with all tests of a file, whose fixtures they share; few, for each has a Ray of its own.
test: lint
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile $(PYTEST_ARGS)

lint: setup-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check --quiet .
	$(BIN)/mypy

# Known vulnerabilities of the pinned versions, where the database that lists them can be reached.
audit: setup-dev
	$(BIN)/python .ci/audit

setup: .venv/.installed-base
setup-dev: .venv/.installed-dev

.venv/.created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or newer is needed; '$(PYTHON)' is not. Try: make PYTHON=/path/to/python3.11"; exit 1; }
	@echo "[1/3] creating .venv with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv .venv
	@touch $@

# torch comes first and alone: nothing resolved later can ask for another build of it.
.venv/.installed-torch: .venv/.created constraints.txt
	@echo "[2/3] installing $(TORCH) (the largest download)"
	@$(PIP) $(TORCH)
	@touch $@

.venv/.installed-base: .venv/.installed-torch setup.py constraints.txt
	@echo "[3/3] installing rllib_rnd and what it needs, at the versions in constraints.txt"
	@$(PIP) -e .
	@touch $@

.venv/.installed-dev: .venv/.installed-torch setup.py constraints.txt
	@echo "[3/3] installing rllib_rnd[minigrid,envpool,vizdoom,classic-control,video,plots,insight,wandb,onnx,hub,dev], at the versions in constraints.txt"
	@$(PIP) -e '.[minigrid,envpool,vizdoom,classic-control,video,plots,insight,wandb,onnx,hub,dev]'
	@$(PIP) -e '.[mario]' 2>/dev/null || echo "Super Mario Bros. is left out, and its tests: the extra mario needs a C++ compiler."
	@touch $@ .venv/.installed-base

clean:
	rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
	find rllib_rnd benchmarks experiments tests tuned_examples -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
