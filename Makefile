# Keel's commands. `make demo` and `make test` set everything up by themselves.
.DEFAULT_GOAL := help
.PHONY: help demo demo-seg test test-all check docs format lock clean

PYTHON ?= python3
BIN := .venv/bin
# Compiled once, by the first start: compiling all packages during set-up takes longer than that.
unexport PYTHONDONTWRITEBYTECODE

help: ## Show this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: .venv/ready ## Set up, then train a detector on the generated sample set
	$(BIN)/python scripts/train_det.py backbone=resnet50

demo-seg: .venv/ready ## Set up, then train a segmenter on the generated sample set
	$(BIN)/python scripts/train_seg.py backbone=resnet34

test: .venv/dev ## Set up if needed, then run the tests
	$(BIN)/pytest -n auto -m "not slow"

test-all: .venv/dev ## The tests, the slow ones included
	$(BIN)/pytest -n auto

check: .venv/dev ## Formatting, lint and types
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy

# Not --quiet: warnings that are not shown do not count as errors. It calls ruff, hence the PATH.
docs: .venv/dev ## Build the documentation in site/, which opens from disk; warnings are errors
	PATH="$(CURDIR)/$(BIN):$$PATH" NO_MKDOCS_2_WARNING=1 mkdocs build --strict -f docs/mkdocs/mkdocs.yml

format: .venv/dev ## Format, and mend what lint can mend
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

lock: .venv/ready ## Pin the newest versions that fit, in requirements.lock
	scripts/lock.sh

clean: ## Remove the environment, all caches and the sample set; runs stay
	rm -rf .venv sample cache site .*_cache

# uv where it is installed; else pip fetches uv into the environment; else pip alone.
define install
@uv=$$(command -v uv || command -v $(BIN)/uv) || true; \
if [ "$$uv" ]; then "$$uv" pip install --quiet --python $(BIN)/python -c requirements.lock $(1); \
else $(BIN)/python -m pip install --quiet -c requirements.lock $(1); fi
@touch $@
endef

.venv/bin/python:
	@if command -v uv >/dev/null 2>&1; then \
	  uv venv --quiet --allow-existing --python-preference only-system --python '>=3.11' .venv; \
	else \
	  $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "Keel needs Python 3.11 or newer: make PYTHON=python3.12 ..."; exit 1; }; \
	  $(PYTHON) -m venv .venv; \
	  $(BIN)/python -m pip install --quiet uv || true; \
	fi

.venv/ready: pyproject.toml requirements.lock | .venv/bin/python
	$(call install,-e .)

.venv/dev: .venv/ready
	$(call install,-e '.[dev]')
