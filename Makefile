# The main commands are `make demo` and `make test`. Python packages are installed in .venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
AZURITE := $(VENV)/azurite
S3RVER := $(VENV)/s3rver
AXE := $(VENV)/axe

apt_install = { SUDO=$$(command -v sudo || true); $$SUDO apt-get update -qq && \
	DEBIAN_FRONTEND=noninteractive $$SUDO apt-get install -y -qq $(1) >/dev/null; }

.PHONY: demo chaos test lint types unit integration system bench bench-videos-tab bench-import bench-polling bench-end-to-end \
	bench-triggerer bench-landing kill-during-landing errors-page browser azurite s3rver axe format clean

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $@

# The marketing pipeline on a real Airflow with the simulator. ONCE=1 stops it after the pipeline.
demo: $(READY)
	@$(BIN)/python -m dev.demo $(if $(ONCE),--once)

# Inject faults at every step of a video generation on a real Airflow, and check the simulator's billing.
# 15 minutes. CHAOS="--passes 1 --faults worker" runs a part, CHAOS=--help lists all options.
chaos: $(READY)
	@$(BIN)/python -m dev.chaos $(CHAOS)

test: lint types browser azurite s3rver axe
	$(BIN)/python -m pytest -n 3 --cov --cov-report=term-missing:skip-covered --cov-fail-under=95

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy

integration: azurite s3rver browser axe
system: browser axe
unit integration system: $(READY)
	$(BIN)/python -m pytest -n 2 tests/$@

# Most benchmarks, one after the other; more than an hour. The results are in docs/benchmarks.md.
bench: bench-import bench-polling bench-end-to-end bench-triggerer bench-landing bench-videos-tab
	$(BIN)/python -m benchmarks.end_to_end --scaling
	$(BIN)/python -m benchmarks.end_to_end --apixo-limits

bench-import: $(READY)
	$(BIN)/python -m benchmarks.import_time

# Landing 1 GiB on local disk compared with curl, and 256 MiB in S3 with boto3. BENCH="--rounds 3".
bench-landing: $(READY)
	$(BIN)/python -m benchmarks.landing $(BENCH)

# Polling 100, 1,000 and 10,000 jobs in one event loop, compared with Airflow's HttpSensorTrigger and bare aiohttp.
# More than ten minutes per round. BENCH="--rounds 1 --jobs 1000".
bench-polling: $(READY)
	$(BIN)/python -m benchmarks.polling $(BENCH)

# Cost of a video for Airflow and the vendor, compared with Airflow's http provider and a Python task. Ten minutes.
# BENCH="--job-seconds 60", BENCH=--scaling, BENCH=--apixo-limits, BENCH=--account-limit.
bench-end-to-end: $(READY)
	$(BIN)/python -m benchmarks.end_to_end $(BENCH)

# Event loop stalls and request rate of a thousand triggers in a triggerer that is killed and restarted. Six minutes.
# BENCH=--control uses triggers that only sleep, BENCH=--changing-progress vendors that report progress.
bench-triggerer: $(READY)
	$(BIN)/python -m benchmarks.triggerer $(BENCH)

# Page times, and what an open tab costs the API server.
bench-videos-tab: $(READY) browser
	$(BIN)/python -m benchmarks.videos_tab $(BENCH)

# Kill workers during a landing, KILLS times each on local disk, S3 and SFTP.
KILLS ?= 250
kill-during-landing: $(READY)
	VIDGEN_LANDING_KILLS=$(KILLS) $(BIN)/python -m pytest -s tests/integration/landing/test_killed_landing.py

# Chromium, for the tests of the connection form, of landed videos and of the Videos tab.
browser:
	@command -v chromium >/dev/null && command -v chromedriver >/dev/null || \
	  $(call apt_install,chromium chromium-driver)

# Azure's storage emulator, for the tests of landing.
azurite: $(READY)
	@test -x $(AZURITE)/node_modules/.bin/azurite-blob || \
	  { command -v npm >/dev/null || $(call apt_install,npm); \
	    npm install --prefix $(AZURITE) --no-package-lock --no-audit --no-fund --silent azurite@3.35.0; }

# A second S3 server besides moto, for the tests of landing.
s3rver: $(READY)
	@test -d $(S3RVER)/node_modules/s3rver || \
	  { command -v npm >/dev/null || $(call apt_install,npm); mkdir -p $(S3RVER); \
	    npm install --prefix $(S3RVER) --no-package-lock --no-audit --no-fund --silent s3rver@3.7.1; }

# Finds what makes a page hard to use with a screen reader or a keyboard, for the tests of the Videos tab.
axe: $(READY)
	@test -d $(AXE)/node_modules/axe-core || \
	  { command -v npm >/dev/null || $(call apt_install,npm); mkdir -p $(AXE); \
	    npm install --prefix $(AXE) --no-package-lock --no-audit --no-fund --silent axe-core@4.14.1; }

# Generate docs/errors.md from the error classes; a test compares the two.
errors-page: $(READY)
	$(BIN)/python -m dev.errors_page

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) .demo .pytest_cache .mypy_cache .ruff_cache .hypothesis dist
