# mitosam: `make` lists what can be made. The environment lives in .venv and is made once.
#
# On Linux, pip takes PyTorch's CUDA build (several GB) unless told otherwise. For the CPU build:
#   make env TORCH_INDEX=https://download.pytorch.org/whl/cpu

PYTHON ?= $(shell command -v python3.11 || command -v python3)
TORCH_INDEX ?=
DATA ?= ../shared/data
PYTEST_ARGS ?= -n 2

BIN := .venv/bin
ENV := .venv/.complete
PIP_INSTALL := $(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt

.DEFAULT_GOAL := help
.PHONY: help env demo test test-napari fuzz check results bench faults docs clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

env: $(ENV) ## make the environment in .venv (every target does this when it is needed)

$(ENV): pyproject.toml constraints.txt
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "mitosam needs Python 3.11 or newer; name one: make PYTHON=/path/to/python3.11" >&2; exit 2; }
	@echo "making the environment in .venv: about a minute, plus downloads"
	@"$(PYTHON)" -m venv .venv
	@$(PIP_INSTALL) pip
	@echo "installing PyTorch"
	@$(PIP_INSTALL) $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) torch
	@echo "installing everything else"
	@$(PIP_INSTALL) --editable . --group dev
	@touch $@

demo: $(ENV) ## the whole job on embedded data: demo/report.html in a few minutes
	$(BIN)/mitosam demo --out demo

# Two workers of one thread each: the models of the tests are too small to gain from more.
test: check ## the checks, then every test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(PYTEST_ARGS)

# The plugin has an environment of its own: napari brings Qt and about fifty packages. Without a
# screen, pytest-xvfb starts Xvfb, which must be installed (docs/napari.md). napari itself uses what
# its own dependencies have deprecated, so only other warnings are errors here.
NAPARI_ENV := .venv-napari/.complete
NAPARI_INSTALL := .venv-napari/bin/python -m pip install -qq --disable-pip-version-check \
  -c constraints.txt -c constraints-napari.txt

$(NAPARI_ENV): pyproject.toml constraints.txt constraints-napari.txt
	@echo "making the environment in .venv-napari: some minutes"
	@"$(PYTHON)" -m venv .venv-napari
	@$(NAPARI_INSTALL) pip
	@$(NAPARI_INSTALL) $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) torch
	@$(NAPARI_INSTALL) --editable '.[napari]' hypothesis pytest pytest-qt pytest-xvfb
	@touch $@

test-napari: $(NAPARI_ENV) ## the plugin's manifest and its tests, in a real napari
	.venv-napari/bin/npe2 validate --imports mitosam
	OMP_NUM_THREADS=1 .venv-napari/bin/python -m pytest tests/ui/napari -W ignore::DeprecationWarning

FUZZ_ARGS ?= --cases 100000 --out build/fuzz.json
fuzz: $(ENV) ## damaged files of every format, by the hundred thousand (an hour or more)
	OMP_NUM_THREADS=1 nice -n 10 $(BIN)/python -m tests.fuzz.run $(FUZZ_ARGS)

check: $(ENV) ## style, types and layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

results: $(ENV) ## docs/results from the real data in DATA=../shared/data (hours; can be resumed)
	$(BIN)/python scripts/make_results.py $(DATA)

bench: $(ENV) ## time and memory of the naive recipe against ours
	$(BIN)/python -m benchmarks.run

faults: $(ENV) ## kill, fill, damage and lose on purpose: nothing wrong may come of it (a quarter of an hour)
	OMP_NUM_THREADS=1 $(BIN)/python -m faults.run

docs: $(ENV) ## write docs/settings.md and docs/cli.md anew from the code
	$(BIN)/python scripts/make_docs.py

clean: ## remove the environment and what was made, but no runs
	rm -rf .venv .venv-napari dist build demo .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
