# make demo    its own environment, installation, a synthetic performer turned into an avatar, scores
# make test    the test suite
# make readers the glTF validator, three.js, three-vrm, splat-transform for tests that ask them (needs npm; skipped without)
# make web     the program of the web page: lint, types, tests, and built into the package (needs npm; skipped without)
# make docs    docs/api.md, made from the docstrings
# make check   format, lint, types, import rules, tests: what continuous integration runs
#
# PYTHON       which interpreter makes the environment (3.10 to 3.12)
# TORCH_ARGS   extra words for installing torch; to get the small build without CUDA from torch's own index:
#              make venv TORCH_ARGS="--index-url https://download.pytorch.org/whl/cpu"

PYTHON ?= python3.11
VENV ?= .venv
TORCH_ARGS ?=
TEST_WORKERS ?= 2
PYTEST_ARGS ?=

BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# splat-transform 3 takes a .spz for +Y down, against the format's specification; 2.7.1 reads it as specified.
READERS := gltf-validator@2.0.0-dev.3.10 three@0.187.0 @pixiv/three-vrm@3.5.5 @playcanvas/splat-transform@2.7.1
TORCH := $(shell sed -n 's/^\(torch==[^ ]*\).*/\1/p' constraints.txt)

# Test workers share the cores: one thread each, so that they don't wait for one another; what takes more must not spin.
TEST_ENV := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 NUMBA_NUM_THREADS=2 OMP_WAIT_POLICY=PASSIVE

.DEFAULT_GOAL := help
.PHONY: help venv demo test format lint types imports web readers docs check clean

help:
	@sed -n 's/^# \{0,1\}//p' Makefile | head -10

venv: $(STAMP)

# Torch goes first and alone, so that its build is chosen by TORCH_ARGS and not by whoever depends on it.
$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --no-compile $(TORCH_ARGS) -c constraints.txt "$(TORCH)"
	$(BIN)/python -m pip install --quiet --no-compile -c constraints.txt -e ".[dev]"
	touch $(STAMP)

demo: venv
	$(BIN)/bodydouble demo -o demo --resume

test: venv
	$(TEST_ENV) $(BIN)/python -m pytest -n $(TEST_WORKERS) --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

format: venv
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lint: venv
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: venv
	$(BIN)/pyright

imports: venv
	$(BIN)/lint-imports

readers:
	@npm install --no-save --no-package-lock --silent $(READERS) || \
	echo "npm could not install $(READERS): the tests that ask them will be skipped."

docs: venv
	$(BIN)/python scripts/api_reference.py

web:
	@if command -v npm >/dev/null; then \
	cd web && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error && npm run --silent check && npm run --silent build; \
	else echo "npm was not found (it comes with Node.js 20): the web page is neither checked nor built."; fi

check: lint types imports web readers test

clean:
	rm -rf build dist demo .pytest_cache .ruff_cache .hypothesis .import_linter_cache
