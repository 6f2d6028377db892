# make train       set up, then train RND on Montezuma's Revenge (a quick run)
# make test        set up, then lint, type-check and run every test
# make test-fast   tests that fit into BUDGET seconds of CPU: those about what differs from main, then the cheapest
# make package     build sdist and wheel, install each in an empty environment of PYTHONS, run it
# make test-newest the cheaper half of the tests with the newest versions that setup.py allows
# make check-examples  build every tuned example and train an iteration of it
# make docs        the site, after what it is made of; make docs-run: all commands of the guide, shortened
# make reproduce NAME=minigrid_benchmark  run what is missing of a study in experiments/
# make benchmark-quick  run one cell of each study's table again
#
# PYTHON=python3.11 picks the interpreter; EXAMPLE=... another YAML; ARGS=... more options of `rllib train` or of
# the study; PYTEST_ARGS=... more options of pytest. The set-up runs again only when setup.py or constraints.txt has changed.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
EXAMPLE ?= tuned_examples/montezuma_rnd_quick.yaml
ARGS ?=
PYTEST_ARGS ?=
BUDGET ?= 150
PYTHONS ?= $(PYTHON)

# Bytecode is written: the tests start hundreds of processes, each of which would compile the package again.
unexport PYTHONDONTWRITEBYTECODE

BIN := .venv/bin
# Quiet: errors only. The recipes say what is being done.
PIP := PIP_DISABLE_PIP_VERSION_CHECK=1 $(BIN)/python -m pip install -qq -c constraints.txt
TORCH := $(shell grep '^torch==' constraints.txt)

EXTRAS := minigrid,envpool,vizdoom,classic-control,video,plots,insight,wandb,onnx,hub,profile,docs,dev

# As many workers as tests/conftest.py says, each with all tests of a file, whose fixtures they share, the dearest files
# first. A thread in each: they share the cores.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

.PHONY: help train test test-fast test-newest package lint style types docs docs-run check-examples audit reproduce \
	benchmark-quick setup setup-dev clean
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

help:
	@sed -n 's/^# \{0,1\}//p' Makefile | head -12

train: setup
	$(BIN)/rllib train $(EXAMPLE) $(ARGS)

# mypy runs beside the tests, which wait for processes now and then.
test: style
	@$(BIN)/mypy > .mypy_said 2>&1 & types=$$!; \
		$(PYTEST) $(PYTEST_ARGS); tests=$$?; \
		wait $$types; types=$$?; cat .mypy_said; rm -f .mypy_said; exit $$((tests ? tests : types))

test-fast: setup-dev
	$(PYTEST) --budget $(BUDGET) $(PYTEST_ARGS)

lint: style types

style: setup-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check --quiet .

types: setup-dev
	$(BIN)/mypy

package: setup-dev
	$(BIN)/python .ci/package $(PYTHONS)

test-newest: setup-dev
	$(BIN)/python .ci/newest $(PYTHON) --extras $(EXTRAS) --budget $(BUDGET)

# All in one process, a line each; Mario's where its package could be compiled (as of setup-dev).
check-examples: setup-dev
	@left_out=$$($(BIN)/python -c 'import nes_py' 2> /dev/null || echo mario_rnd); \
		$(BIN)/rllib check $$(find tuned_examples -name '*.yaml' | grep -v "/$${left_out:-none}\.yaml" | sort)

# The site into build/site, after what it is made of: tables of the code, the notebook. Broken links are errors.
docs: setup-dev
	$(BIN)/python -m docs_tools.generate --check
	$(BIN)/python -m docs_tools.notebook
	$(BIN)/python -m docs_tools.site

# All commands of the guide, shortened, in one folder: minutes.
docs-run: setup-dev
	$(BIN)/python -m docs_tools.guide

# Known vulnerabilities of the pinned versions, where the database that lists them can be reached.
audit: setup-dev
	$(BIN)/python .ci/audit

# A study goes on where it was cut; ARGS='--hours 8' stops some after a night (see the study's README).
reproduce: setup-dev
	@test -f experiments/$(NAME)/run.py || { echo "NAME=... is one of:" $$(ls experiments/*/run.py | cut -d/ -f2); exit 2; }
	$(BIN)/python -m experiments.$(NAME).run $(ARGS)

# One cell of each table again; fails where it leaves the interval of what is stored.
benchmark-quick: setup-dev
	$(BIN)/python -m experiments.quick $(ARGS)

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
	@echo "[3/3] installing rllib_rnd[$(EXTRAS)], at the versions in constraints.txt"
	@$(PIP) -e '.[$(EXTRAS)]'
	@$(PIP) -e '.[mario]' 2>/dev/null || echo "Super Mario Bros. is left out, and its tests: the extra mario needs a C++ compiler."
	@touch $@ .venv/.installed-base

clean:
	rm -rf .venv .venv-newest build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
	find rllib_rnd benchmarks docs_tools experiments tests tuned_examples -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
