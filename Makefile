# Everything from a fresh clone: each target sets up .venv by itself, once.
# Needs Python 3.11 or newer, g++ and make.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c

VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

MODEL ?= host/adakern/bundled/demo.safetensors
INPUT ?= host/adakern/bundled/demo.fasta
DEVICE ?= verilator:
PICTURE ?= build/demo.png
JOBS ?= 2
SYMBOLS := host/adakern/bundled/symbols
BOARD ?= ulx3s-85f
BITSTREAM ?= build/$(notdir $(basename $(MODEL)))-$(BOARD).bit

.PHONY: demo demo-adapt bitstream test lint browser benchmarks clean

demo: $(INSTALLED)
	@$(BIN)/adakern predict "$(MODEL)" "$(INPUT)" --device "$(DEVICE)" --picture "$(PICTURE)"

# A device learns symbols that no training has seen, one picture of each, from new kernels alone.
demo-adapt: $(INSTALLED)
	@$(BIN)/adakern adapt "$(SYMBOLS)_learner.safetensors" $(SYMBOLS)/support --out build/symbols.safetensors
	@$(BIN)/adakern predict "$(SYMBOLS).safetensors" $(SYMBOLS)/queries --device "$(DEVICE)" \
	  --adapt build/symbols.safetensors --picture build/symbols.png

bitstream: $(INSTALLED)
	$(BIN)/adakern build "$(MODEL)" --board "$(BOARD)" --out "$(BITSTREAM)"

# Tests of one group share a Verilated model or a trained network, so one worker runs them all.
test: lint
	$(BIN)/pytest --numprocesses $(JOBS) --dist loadgroup

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Chromium for the tests of the build report's page: Debian's package, where that can be installed.
browser:
	@for browser in chromium chromium-browser google-chrome chrome; do \
	  if command -v "$$browser" >/dev/null; then exit 0; fi; \
	done; \
	if [ "$$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then \
	  echo "error: PATH: no Chromium; install it, e.g. sudo apt install chromium" >&2; \
	  exit 1; \
	fi; \
	apt-get update -qq && apt-get install -qq --yes --no-install-recommends chromium

benchmarks: $(INSTALLED)
	$(BIN)/python benchmarks/run.py

clean:
	rm -rf $(VENV) build

# The stamp is touched last: an interrupted installation is taken up again.
$(INSTALLED): pyproject.toml constraints.txt
	@for python in $(PYTHON) python3.11 python3.12 python3.13 python3; do \
	  if "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	    echo "setting up $(VENV) with $$python, once (a few minutes)"; \
	    "$$python" -m venv $(VENV) \
	      || { echo "error: $$python: cannot make a virtual environment; install its venv package" >&2; exit 1; }; \
	    $(BIN)/pip install --quiet --constraint constraints.txt --editable '.[bitstream,train,benchmark,dev]'; \
	    touch $@; \
	    exit 0; \
	  fi; \
	done; \
	echo "error: PATH: no Python 3.11 or newer; install one, or name it with make PYTHON=..." >&2; \
	exit 1
