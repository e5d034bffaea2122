# `make export` and `make test` work on a fresh machine: they make .venv and install what they need.
PYTHON ?= python3
BIN := .venv/bin
# Tests run on up to four cores, one file each, and one thread per process: more would fight over the cores.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile
STAMP := .venv/.installed

.PHONY: help install export plan test test-fast test-exports lint clean
help:
	@echo "make export     the main job: er-s as int8, calibrated, checked, measured -> exports/"
	@echo "make plan       search what of er-xs stays in float, and export by it"
	@echo "make test       style, types, structure and all tests"
	@echo "make test-fast  the same without the slow tests"
	@echo "make test-exports  every variant in every format: parsed, built, checked"
	@echo "make clean      remove .venv and what was built (exports/ stays)"

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps tensorrt-stubs==10.13.0.35.1
	@touch $@

export: $(STAMP)
	$(BIN)/python compress/export.py --variant er-s --int8 --overwrite

plan: $(STAMP)
	$(BIN)/python -m compress.sensitivity --variant er-xs -o exports/er-xs.plan.json
	$(BIN)/python compress/export.py --variant er-xs --int8 --plan exports/er-xs.plan.json --overwrite

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: lint
	$(PYTEST) --ignore=tests/exports

test-fast: lint
	$(PYTEST) --ignore=tests/exports -m "not slow"

test-exports: $(STAMP)
	$(PYTEST) tests/exports

clean:
	rm -rf .venv build *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
