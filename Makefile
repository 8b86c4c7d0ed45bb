# `make` lists the targets. Each one first sets up .venv from constraints.txt, which takes a few
# minutes the first time and nothing after that; once it is set up, everything runs offline.

BIN := .venv/bin
INSTALLED := .venv/.installed
PYTEST_FLAGS :=
ROWS := 1000000
SECONDS := 600
HOURS := 72
ASSETS := 50
SIZES := 10
FAULTS := 1000
SEED := 0

# Nothing phones home, state stays in one folder, and a process uses one numeric thread.
export DO_NOT_TRACK := 1
export PREFECT_SERVER_ANALYTICS_ENABLED := false
export PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS := 120
export PREFECT_HOME ?= $(CURDIR)/.faultwatch/prefect
export MLFLOW_DISABLE_TELEMETRY := true
export MLFLOW_SERVER_ENABLE_JOB_EXECUTION := false
export MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR := false
export RAY_USAGE_STATS_ENABLED := 0
export OMP_NUM_THREADS := 1

# The parts whose every line and branch is tested; what makes the demo plant's data anew needs the
# simulator, which is not installed.
PURE := features/*,deploy/edge/faultwatch_edge/alarm.py,deploy/edge/faultwatch_edge/grid.py
PURE := $(PURE),deploy/edge/faultwatch_edge/window.py,deploy/edge/faultwatch_edge/bundle.py
PURE := $(PURE),deploy/edge/faultwatch_edge/spool.py,deploy/edge/faultwatch_edge/decisions.py
NOT_PURE := features/datasets/tep/generate.py

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo test check fix bench soak bench-ingest bench-train bench-fleet fuzz faults lint coverage lock

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(INSTALLED)  ## one plant from raw rows to an alarm, offline, in a few minutes
	@$(BIN)/faultwatch demo

test: $(INSTALLED)  ## all tests, in about three quarters of an hour on two cores
	@$(BIN)/pytest -n auto --maxprocesses=4 --dist=loadfile $(PYTEST_FLAGS)

check: PYTEST_FLAGS := --cov
check: lint test coverage  ## everything CI does: lint, all tests, coverage

lint: $(INSTALLED)  ## style, types, import contracts and spelling, in about a minute
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/codespell
	@echo "codespell: no misspelling"

coverage: | $(INSTALLED)  ## every line and branch of the pure parts was run by the last measured tests
	@$(BIN)/coverage report --include='$(PURE)' --omit='$(NOT_PURE)' --fail-under=100

fix: $(INSTALLED)  ## repair what ruff can repair, and format
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: $(INSTALLED)  ## time and memory of the edge runtime, written to tests/benchmarks/results
	@$(BIN)/python tests/benchmarks/edge_latency.py

soak: $(INSTALLED)  ## 50 machines at 1 Hz in one agent for 72 hours of data; HOURS=6 ASSETS=200
	@$(BIN)/python tests/benchmarks/edge_soak.py --hours $(HOURS) --assets $(ASSETS)

bench-ingest: $(INSTALLED)  ## speed and memory of the ingest beside plain polars; ROWS=10000000 takes half an hour
	@$(BIN)/python tests/benchmarks/ingest.py --rows $(ROWS)

bench-train: $(INSTALLED)  ## speed of training as a share of a matrix product's
	@$(BIN)/python tests/benchmarks/training.py

bench-fleet: $(INSTALLED)  ## time and memory of training many assets: one by one, in processes, by Ray; SIZES="10 50 200"
	@$(BIN)/python tests/benchmarks/fleet.py --sizes $(SIZES)

fuzz: $(INSTALLED)  ## all that is read, mutated: ten minutes each or SECONDS=60
	@$(BIN)/python tests/fuzz/readers.py --seconds $(SECONDS)
	@$(BIN)/python tests/fuzz/edge_parsers.py --seconds $(SECONDS)

faults: $(INSTALLED)  ## random kills, cuts, full disks, wrong clocks over a day; FAULTS=1000 SEED=0
	@FAULTS=$(FAULTS) FAULTS_SEED=$(SEED) $(BIN)/pytest -q -s tests/edge/live/test_faults.py

lock: constraints.txt.new  ## resolve all dependencies anew and rewrite constraints.txt
	@mv constraints.txt.new constraints.txt
	@echo "Wrote constraints.txt; now run: make check"

# A python3 that answers and is new enough; a version manager's stand-in for an absent one does neither.
define FIND_PYTHON
python=; for name in python3 python3.11 python3.12 python3.13 python3.14; do \
    if $$name -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then python=$$name; break; fi; \
done; \
if [ -z "$$python" ]; then \
    echo "Faultwatch needs Python 3.11 or newer; none of python3, python3.11 ... python3.14 on PATH is that." >&2; \
    exit 1; \
fi
endef

$(INSTALLED): pyproject.toml deploy/edge/pyproject.toml constraints.txt
	@$(FIND_PYTHON); \
	echo "Installing the pinned packages into .venv: once, about three minutes, 2 GB (more where torch brings CUDA)."; \
	[ -x $(BIN)/pip ] || $$python -m venv .venv
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt -e deploy/edge -e '.[dev]'
	@# What the edge package needs, kept for the test that installs it alone: that works offline, too.
	@$(BIN)/python -m pip download -qq --disable-pip-version-check -c constraints.txt -d .venv/edge-wheels \
	    setuptools==84.2.1 numpy onnxruntime cryptography paho-mqtt
	@touch $@

.PHONY: constraints.txt.new
constraints.txt.new:
	@$(FIND_PYTHON); \
	echo "Resolving anew in a fresh environment: about five minutes, 2 GB, removed afterwards."; \
	rm -rf build/lock && $$python -m venv build/lock
	@build/lock/bin/python -m pip install -qq --disable-pip-version-check -e deploy/edge -e '.[dev]'
	@build/lock/bin/python -m pip check
	@{ sed -n '/^#/p' constraints.txt; build/lock/bin/python -m pip freeze --exclude-editable | sed 's/+[a-z0-9.]*$$//'; } > $@
	@rm -rf build/lock
