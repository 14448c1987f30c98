# make demo | make test | make check | make .venv        (PYTHON=python3.12 make test, to choose the interpreter)
.DEFAULT_GOAL := help
.PHONY: help demo test check format clean .venv

PYTHON ?= python3
BIN := .venv/bin
export OMP_NUM_THREADS ?= 1
export MKL_NUM_THREADS ?= $(OMP_NUM_THREADS)

help:
	@echo "make demo    the main job: train, prune early, compare, and write runs/demo/report.html"
	@echo "make test    the tests"
	@echo "make check   format, lint and types"
	@echo "make .venv   the environment alone"

.venv: .venv/ready

# The stamp comes last, so that an interrupted installation is done again.
.venv/ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "flowprune needs Python 3.11 or later; $(PYTHON) is $$($(PYTHON) --version 2>&1). Run: make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,hf,onnx]'
	@touch $@

demo: .venv/ready
	$(BIN)/flowprune demo

test: .venv/ready
	$(BIN)/python -m pytest -n 2

check: .venv/ready
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright --pythonpath $(BIN)/python

format: .venv/ready
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf .venv build dist src/*.egg-info .pytest_cache .ruff_cache
