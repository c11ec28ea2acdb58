# Needs Python >= 3.11 and make, nothing else: every target sets up what it uses.
PYTHON ?= python3
# How many test files run at a time; 0 for one after the other in one process.
TEST_WORKERS ?= 2
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
NATIVE := native
AUDIT := $(VENV)/audit

.DEFAULT_GOAL := help
.PHONY: help demo test test-unit test-broker test-chaos test-chart chart-live chaos mutants bench check audit generate lock clean

help: ## this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 14

$(READY): requirements-dev.lock pyproject.toml $(NATIVE)/Cargo.lock $(wildcard $(NATIVE)/src/*.rs)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "broker-events needs Python >= 3.11; name one with: make PYTHON=python3.12 ..." >&2; exit 2; }
	@echo "Setting up $(VENV): locked packages and native code, once; a few minutes, about 600 MB ..."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: $(READY) ## the whole pipeline on a real broker, with a live view (DEMO_SECONDS=20 without a terminal)
	@$(BIN)/broker-events run

test: $(READY) ## every test, on the embedded broker (or TEST_BROKER=testcontainers|external)
	@$(BIN)/pytest -n $(TEST_WORKERS) --dist loadfile --no-loadscope-reorder tests/chaos tests/broker tests/chart tests/observe tests/contracts tests/unit

test-unit: $(READY) ## contracts and pure logic: no I/O, seconds
	@$(BIN)/pytest tests/contracts tests/unit

test-broker: $(READY) ## real processes on a real broker
	@$(BIN)/pytest tests/broker

test-chaos: $(READY) ## the small form of chaos, and broken workers that it has to find
	@$(BIN)/pytest tests/chaos

test-chart: $(READY) ## the Helm chart, compose file and image steps (builds helm once where there is Go)
	@$(BIN)/pytest tests/chart

chart-live: $(READY) ## the chart on a real kube-apiserver: dry run, install, upgrade, rollback (needs Go; builds it once, minutes)
	@$(BIN)/pytest tests/chart/live_chart.py

chaos: $(READY) ## random faults of every kind under load, every event compared (CHAOS=--help)
	@$(BIN)/python tests/chaos $(CHAOS)

mutants: $(READY) ## a million changed events through a router, every one accounted for (MUTANTS=1000000 MUTANTS_SEED=)
	@$(BIN)/python tests/broker/mutants.py $(if $(MUTANTS),--events $(MUTANTS)) $(if $(MUTANTS_SEED),--seed $(MUTANTS_SEED))

bench: $(READY) ## everything side by side in one run: ours, the limit, Kafka Streams, Quix, Faust (BENCH=--quick)
	@$(BIN)/python -m bench $(BENCH)

check: $(READY) ## ruff, mypy --strict, import-linter; rustfmt and clippy where there is a Rust compiler
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@if command -v cargo >/dev/null; then cd $(NATIVE) && cargo fmt --check && cargo clippy --quiet --locked --release -- -D warnings; fi

generate: $(READY) ## models, gRPC code, the chart's settings and topics, docs/reference
	@$(BIN)/python -m broker_events.schemas.generate
	@$(BIN)/python -m broker_events.ingest.sources.generate
	@$(BIN)/python helm/generate_values.py
	@$(BIN)/python docs/reference/generate.py

lock: $(READY) ## the lock files from pyproject.toml (names no registry)
	@$(BIN)/pip install --quiet uv
	@$(BIN)/uv pip compile -q --python-version 3.11 --universal --generate-hashes --no-header --no-annotate --no-emit-index-url --extra workers pyproject.toml -o requirements.lock
	@$(BIN)/uv pip compile -q --python-version 3.11 --universal --generate-hashes --no-header --no-annotate --no-emit-index-url -c requirements.lock --extra workers --extra stack --extra dev pyproject.toml -o requirements-dev.lock
	@$(BIN)/uv pip compile -q --python-version 3.11 --universal --generate-hashes --no-header --no-annotate --no-emit-index-url -c requirements-dev.lock --group build -o requirements-build.lock

audit: $(READY) ## known vulnerabilities in the locked Python packages, as OSV knows them
	@test -x $(AUDIT)/bin/pip-audit || { $(PYTHON) -m venv $(AUDIT) && $(AUDIT)/bin/pip install --quiet --disable-pip-version-check pip-audit; }
	@$(AUDIT)/bin/pip-audit --vulnerability-service osv --disable-pip --require-hashes --progress-spinner off -r requirements-dev.lock > $(AUDIT)/said 2>&1; \
	code=$$?; \
	if grep -q 'known vulnerabilit' $(AUDIT)/said; then cat $(AUDIT)/said; exit $$code; fi; \
	tail -n 1 $(AUDIT)/said >&2; \
	echo "NOTHING WAS AUDITED: https://api.osv.dev did not answer, see the line above. Run make audit where it can be reached." >&2; \
	exit 3

clean: ## forget the environment
	@rm -rf $(VENV)
