# `make demo` shows what this is; `make test` is all that a commit must pass. Both need python3 (3.11 or newer), make and
# a package index; the tests need g++ as well.

PYTHON ?= python3
VENV ?= .venv
DEVICE ?= auto
SHAPE ?= criteo
BATCH ?= 65536
OUT ?= docs/benchmarks
# Tests run in a process per core; in one process where there is a GPU, since some measure how much of it is free.
PROCESSES ?= $(if $(DRIVER),0,logical)
BIN = $(VENV)/bin
INSTALLED = $(VENV)/installed

# The extra that fits the driver, for a CUDA device.
DRIVER = $(shell nvidia-smi 2>/dev/null | sed -n 's/.*CUDA[^:]*Version: \([0-9]*\).*/\1/p' | head -n 1)
CUDA = $(if $(filter cuda%,$(DEVICE)),cuda$(DRIVER))
comma = ,
EXTRAS = cpu,data,plots,progress,sklearn$(if $(CUDA),$(comma)$(CUDA))
DEMO = $(VENV)/installed-for-the-demo$(if $(CUDA),-with-$(CUDA))

.DEFAULT_GOAL := help
.PHONY: help demo test lint types wheel docs bench gpu-check gpu-peers clean check check-python check-cuda
.DELETE_ON_ERROR:

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):[^#]*## /\1\t/p' $(MAKEFILE_LIST)

demo: $(DEMO) ## train on census data and write fwfm-report.html; DEVICE=cuda for a GPU
	$(if $(CUDA),@echo "device $(DEVICE): with the extra $(CUDA) that fits the driver of this machine")
	$(BIN)/fwfm-gpu demo --device $(DEVICE)

test: lint types ## everything a commit must pass
	$(BIN)/python -m pytest -n $(PROCESSES) --maxprocesses 8 --dist worksteal

lint: $(INSTALLED) ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(INSTALLED) ## mypy, strict
	$(BIN)/mypy --strict fwfm_gpu

wheel: $(INSTALLED) ## build the wheel into dist/
	rm -rf dist
	$(BIN)/python -m build --wheel --no-isolation --outdir dist

docs: $(INSTALLED) ## the site, into docs/_build/html; a warning is an error
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --fresh-env -q docs docs/_build/html
	@echo "docs/_build/html/index.html"

bench: $(INSTALLED) ## every benchmark once, on this environment
	cd asv_bench && $(abspath $(BIN))/asv machine --yes >/dev/null
	cd asv_bench && $(abspath $(BIN))/asv run --quick --python=same --show-stderr

# These two install nothing and use no environment of ours: $(PYTHON) holds NumPy, SciPy, CuPy, pytest, perhaps PyTorch.
FROM_HERE = PYTHONPATH="$(CURDIR):$(CURDIR)/asv_bench$${PYTHONPATH:+:$$PYTHONPATH}" $(PYTHON) -m

gpu-check: ## tests and benchmark on a GPU, eight minutes; figures and table into OUT=docs/benchmarks
	$(FROM_HERE) gpu.check --out "$(OUT)"

gpu-peers: ## every form of PyTorch on a GPU, SHAPE=criteo or frappe, BATCH=65536
	$(FROM_HERE) gpu.peers --shape $(SHAPE) --batch $(BATCH) --out "$(OUT)"

clean: ## remove environments, builds and caches
	rm -rf .venv* build dist docs/_build docs/reference/generated .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamp is made last: an interrupted install is taken up again by the next run.
$(INSTALLED): pyproject.toml | check
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

# A smaller install than that of the tests, and nothing new where that is done already.
$(DEMO): pyproject.toml | check-python check-cuda
	@echo "installing fwfm-gpu[$(EXTRAS)]"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[$(EXTRAS)]'
	@touch $@

# One line for what is missing.
answers = $(shell $(1) >/dev/null 2>&1 && echo yes)

check: check-python
	$(if $(call answers,g++ --version),,$(error g++ is missing: install it (Debian and Ubuntu: apt install g++)))

check-cuda:
	$(if $(CUDA),$(if $(DRIVER),,\
	  $(error nvidia-smi is missing or finds no driver: DEVICE=$(DEVICE) needs an NVIDIA GPU)))
	$(if $(CUDA),$(if $(filter 12 13,$(DRIVER)),,\
	  $(error the driver is of CUDA $(DRIVER): the extras are for CUDA 12 and 13)))

check-python:
	$(if $(call answers,$(PYTHON) -c ''),,\
	  $(error $(PYTHON) is missing: install Python 3.11 or newer, or name one: make test PYTHON=python3.12))
	$(if $(call answers,$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))'),,\
	  $(error $(PYTHON) is $(shell $(PYTHON) -V): Python 3.11 or newer is needed: make test PYTHON=python3.12))
	$(if $(call answers,$(PYTHON) -c 'import ensurepip; import venv'),,\
	  $(error $(PYTHON) has no venv module: install it (Debian and Ubuntu: apt install python3-venv)))
