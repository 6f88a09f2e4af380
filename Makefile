# make demo, make test: each makes its own environment on first use. Needs Python >= 3.11.
PYTHON ?= python3
BACKEND ?= tensorflow
VENV ?= $(if $(filter tensorflow,$(BACKEND)),.venv,.venv-$(BACKEND))
BIN := $(VENV)/bin
PYTEST := $(BIN)/python -m pytest -q -n 2 --dist

export TF_CPP_MIN_LOG_LEVEL ?= 3
export KERAS_BACKEND := $(BACKEND)

comma := ,

.PHONY: help demo test test-slow test-long test-zoo test-all zoo operations lint docs benchmarks tables clean

help:
	@echo "make demo        train, check and draw a physics-informed network (QUICK=1: 20 seconds)"
	@echo "make test        the tests (BACKEND=jax or BACKEND=torch: those of every backend, on that one)"
	@echo "                 make test-slow: the long ones; make test-long: whole tables and"
	@echo "                 random cases by the thousand; make test-zoo: every layer of Keras in"
	@echo "                 every mode; make test-all: all of them (some 2 hours)"
	@echo "make zoo         check every layer of Keras and write docs/zoo.md (half an hour)"
	@echo "make operations  check every operation of Keras; write docs/operations.md and the table of"
	@echo "                 verified operations (some ten minutes)"
	@echo "make lint        check style, format and types"
	@echo "make docs        the documentation, to docs/_build/html"
	@echo "make benchmarks  time the derivatives against TensorFlow, JAX and PyTorch by hand"
	@echo "                 (some 30 minutes; writes docs/benchmarks.md and .png, docs/clients.md)"
	@echo "make tables      reproduce published tables and write docs/tables.md (an hour; one of them:"
	@echo "                 NAME=burgers, convection, hamiltonian, …; QUICK=1: a short look)"
	@echo "make clean       remove the environment and what the demo wrote"

demo: $(VENV)/plots.stamp
	@$(BIN)/python -m keras_derivs demo $(if $(QUICK),--quick)

test: $(VENV)/test.stamp
	$(PYTEST) loadfile -m "not slow and not long"

test-slow: $(VENV)/test.stamp
	$(PYTEST) loadfile -m "slow and not zoo"

test-long: $(VENV)/test.stamp
	$(PYTEST) worksteal -m long

test-zoo: $(VENV)/test.stamp
	$(PYTEST) worksteal -m zoo

test-all: test test-slow test-long test-zoo

zoo: $(VENV)/test.stamp
	$(BIN)/python tests/zoo_cells.py

operations: $(VENV)/test.stamp
	$(BIN)/python tests/operation_cells.py

lint: $(VENV)/lint.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python

docs: $(VENV)/docs.stamp
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

benchmarks: $(VENV)/benchmarks.stamp
	$(BIN)/python benchmarks/measure.py
	$(BIN)/python benchmarks/page.py
	$(BIN)/python benchmarks/clients.py

tables: $(VENV)/benchmarks.stamp
	$(BIN)/python benchmarks/tables/reproduce.py $(if $(NAME),"$(NAME)") $(if $(QUICK),--quick)

clean:
	rm -rf $(VENV) burgers.keras burgers.png
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python >= 3.11 is needed")'
	@echo "Making an environment in $(VENV)"
	@$(PYTHON) -m venv $(VENV)

# The package with one set of extras; again when what it depends on changes.
$(VENV)/%.stamp: setup.cfg pyproject.toml | $(BIN)/python
	@echo "Installing keras_derivs[$*] (some minutes at first: TensorFlow is large)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[$*$(if $(filter tensorflow,$(BACKEND)),,$(comma)$(BACKEND))]"
	@touch $@
