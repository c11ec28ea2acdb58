# Needs only Python >= 3.11 and make. Every target sets up what it uses.
PYTHON ?= python3
# Number of parallel test processes; 0 runs all tests in one process.
TEST_WORKERS ?= 2
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
NATIVE := native
AUDIT := $(VENV)/audit
ODCS := $(VENV)/odcs
DOCS_TOOL := $(VENV)/docs/bin/zensical
EXPORTS := tests/contracts/exports

.DEFAULT_GOAL := help
.PHONY: help demo test test-unit test-broker test-chaos test-chart test-console screenshots chart-live chaos lake-rounds mutants examples bench check check-contracts check-exports audit generate docs lock clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 17

$(READY): requirements-dev.lock pyproject.toml $(NATIVE)/Cargo.lock $(wildcard $(NATIVE)/src/*.rs)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "broker-events needs Python >= 3.11. Select one: make PYTHON=python3.12 ..." >&2; exit 2; }
	@echo "Setting up $(VENV) (once, a few minutes, about 600 MB): 1 of 2, locked packages ..."
	@$(PYTHON) -m venv $(VENV)
	@test -t 1 || quiet=--quiet; $(BIN)/pip install $$quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@echo "2 of 2, this project and its native code ..."
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: $(READY) ## run the whole pipeline on Kafka with a live view (DEMO_SECONDS=20)
	@$(BIN)/broker-events run

test: $(READY) ## run all tests on embedded Kafka (TEST_BROKER=testcontainers|external)
	@$(BIN)/pytest -n $(TEST_WORKERS) --dist loadfile --no-loadscope-reorder tests/chaos tests/broker tests/chart tests/observe tests/contracts tests/unit

test-unit: $(READY) ## test contracts and pure logic, without Kafka
	@$(BIN)/pytest tests/contracts tests/unit

test-broker: $(READY) ## test real processes on Kafka
	@$(BIN)/pytest tests/broker

test-chaos: $(READY) ## run a short chaos test; it must find broken workers
	@$(BIN)/pytest tests/chaos

test-chart: $(READY) ## test the Helm chart, compose file and image (needs Go)
	@$(BIN)/pytest tests/chart

chart-live: $(READY) ## install and upgrade the chart on a kube-apiserver (needs Go)
	@$(BIN)/pytest tests/chart/live_chart.py

chaos: $(READY) ## inject faults under load and compare every event (CHAOS=--help)
	@$(BIN)/python tests/chaos $(CHAOS)

lake-rounds: $(READY) ## kill the lake worker at random points (LAKE_ROUNDS=200, LAKE_SEED=N)
	@LAKE_ROUNDS=$(or $(LAKE_ROUNDS),200) LAKE_SEED=$(or $(LAKE_SEED),1) $(BIN)/pytest --timeout 14400 tests/broker/test_lake_faults.py -k random

mutants: $(READY) ## route a million mutated events, account for each (MUTANTS=N)
	@$(BIN)/python tests/broker/mutants.py $(if $(MUTANTS),--events $(MUTANTS)) $(if $(MUTANTS_SEED),--seed $(MUTANTS_SEED))

examples: $(READY) ## run every program in examples/ whose toolchain is there (Go, Rust ...)
	@$(BIN)/pytest -v tests/broker/all_examples.py

bench: $(READY) ## compare with Kafka Streams, Quix, Faust and the limit (BENCH=--quick)
	@$(BIN)/python -m bench $(BENCH)

check: $(READY) ## run ruff, mypy, import-linter, alert rules, with Rust rustfmt, clippy
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/broker-events rules test
	@$(BIN)/python docs/contracts/export.py --check
	@if command -v cargo >/dev/null; then cd $(NATIVE) && cargo fmt --check && cargo clippy --quiet --locked --release -- -D warnings; fi

check-contracts: $(READY) ## check contracts, samples and generated models, in seconds
	@$(BIN)/pytest -q tests/contracts tests/unit/test_readme.py

generate: $(READY) ## write models, gRPC code, chart values and generated documents
	@$(BIN)/python -m broker_events.schemas.generate
	@$(BIN)/python -m broker_events.ingest.sources.generate
	@$(BIN)/python helm/generate_values.py
	@$(BIN)/python docs/reference/generate.py
	@$(BIN)/python docs/contracts/export.py
	@$(BIN)/python docs/images/pictures.py

check-exports: $(READY) ## check exported contracts with AsyncAPI's and ODCS's tools (needs node)
	@command -v npm >/dev/null || { echo "check-exports needs node 18 or newer with npm" >&2; exit 2; }
	@cd $(EXPORTS) && npm ci --ignore-scripts --no-audit --no-fund --silent && node asyncapi.mjs ../../../docs/contracts/asyncapi.json
	@test -x $(ODCS)/bin/datacontract || { $(PYTHON) -m venv $(ODCS) && $(ODCS)/bin/pip install --quiet --disable-pip-version-check -r $(EXPORTS)/requirements.txt; }
	@for file in docs/contracts/odcs/*.yaml; do $(ODCS)/bin/datacontract lint $$file > $(ODCS)/said 2>&1 || { cat $(ODCS)/said; exit 1; }; done; echo "$$(ls docs/contracts/odcs | wc -l) ODCS documents are valid"

docs: $(READY) ## build the documentation as a site in site/ and check its links
	@test -x $(DOCS_TOOL) || { $(PYTHON) -m venv $(VENV)/docs && $(VENV)/docs/bin/pip install --quiet --disable-pip-version-check -r docs/site/requirements.txt; }
	@$(BIN)/python docs/site/build.py site $(DOCS_TOOL)

test-console: $(READY) ## test the console: its pages in Chromium, its API, its rights
	@$(BIN)/pytest tests/broker/test_console.py tests/broker/test_console_pages.py

screenshots: $(READY) ## take the pictures of the console that make demo serves
	@$(BIN)/python docs/images/record_console.py

lock: $(READY) ## write the lock files from pyproject.toml
	@$(BIN)/pip install --quiet uv
	@$(BIN)/uv pip compile -q --python-version 3.11 --universal --generate-hashes --no-header --no-annotate --no-emit-index-url --extra workers --extra console pyproject.toml -o requirements.lock
	@$(BIN)/uv pip compile -q --python-version 3.11 --universal --generate-hashes --no-header --no-annotate --no-emit-index-url -c requirements.lock --extra workers --extra console --extra lake --extra stack --extra dev pyproject.toml -o requirements-dev.lock
	@$(BIN)/uv pip compile -q --python-version 3.11 --universal --generate-hashes --no-header --no-annotate --no-emit-index-url -c requirements-dev.lock --extra lake pyproject.toml -o requirements-lake.lock
	@$(BIN)/uv pip compile -q --python-version 3.11 --universal --generate-hashes --no-header --no-annotate --no-emit-index-url -c requirements-dev.lock --group build -o requirements-build.lock

audit: $(READY) ## check the locked Python packages for known vulnerabilities (OSV)
	@test -x $(AUDIT)/bin/pip-audit || { $(PYTHON) -m venv $(AUDIT) && $(AUDIT)/bin/pip install --quiet --disable-pip-version-check pip-audit; }
	@$(AUDIT)/bin/pip-audit --vulnerability-service osv --disable-pip --require-hashes --progress-spinner off -r requirements-dev.lock > $(AUDIT)/said 2>&1; \
	code=$$?; \
	if grep -q 'known vulnerabilit' $(AUDIT)/said; then cat $(AUDIT)/said; exit $$code; fi; \
	tail -n 1 $(AUDIT)/said >&2; \
	echo "NOTHING WAS AUDITED: https://api.osv.dev did not answer (see the line above). Run make audit on a host that can reach it." >&2; \
	exit 3

clean: ## remove the environment
	@rm -rf $(VENV)
