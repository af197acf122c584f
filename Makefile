# Both main commands set up all they need in .venv: `make demo` and `make test`.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
AZURITE := $(VENV)/azurite
S3RVER := $(VENV)/s3rver

apt_install = { SUDO=$$(command -v sudo || true); $$SUDO apt-get update -qq && \
	DEBIAN_FRONTEND=noninteractive $$SUDO apt-get install -y -qq $(1) >/dev/null; }

.PHONY: demo chaos test lint types unit integration system bench bench-import bench-polling bench-end-to-end \
	bench-triggerer bench-landing landing-kills browser azurite s3rver format clean

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $@

# The main job, end to end, on a real Airflow against the simulator. ONCE=1 ends by itself.
demo: $(READY)
	@$(BIN)/python -m dev.demo $(if $(ONCE),--once)

# Crashes at every point of a video's way, on a real Airflow; the simulator's books are the judge. A quarter
# of an hour. CHAOS="--passes 1 --only worker" for a part of it, CHAOS=--help for more.
chaos: $(READY)
	@$(BIN)/python -m dev.chaos $(CHAOS)

test: lint types browser azurite s3rver
	$(BIN)/python -m pytest -n 3 --cov --cov-report=term-missing:skip-covered --cov-fail-under=95

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy

integration: azurite s3rver browser
system: browser
unit integration system: $(READY)
	$(BIN)/python -m pytest -n 2 tests/$@

# All benchmarks, one after the other; more than an hour. What they found stands in docs/benchmarks.md.
bench: bench-import bench-polling bench-end-to-end bench-triggerer bench-landing
	$(BIN)/python -m benchmarks.end_to_end --growth
	$(BIN)/python -m benchmarks.end_to_end --apixo

bench-import: $(READY)
	$(BIN)/python benchmarks/import_time.py

# A 1 GiB file to disk against curl, and a smaller one to S3 against boto3. BENCH="--rounds 3" and the like.
bench-landing: $(READY)
	$(BIN)/python -m benchmarks.landing $(BENCH)

# 100, 1,000 and 10,000 waiting jobs in one event loop, against Airflow's HttpSensorTrigger and bare aiohttp. Ten
# minutes and more for a round. BENCH="--rounds 1 --jobs 1000".
bench-polling: $(READY)
	$(BIN)/python -m benchmarks.polling $(BENCH)

# What a video costs Airflow and the vendor, against the http provider's operators and a plain task; ten minutes.
# BENCH="--seconds 60", BENCH=--growth, BENCH=--apixo.
bench-end-to-end: $(READY)
	$(BIN)/python -m benchmarks.end_to_end $(BENCH)

# A thousand triggers in one triggerer, which is killed and started again; six minutes. BENCH=--control has
# triggers that only sleep, BENCH=--changing vendors that tell of progress.
bench-triggerer: $(READY)
	$(BIN)/python -m benchmarks.triggerer $(BENCH)

# Workers killed in the middle of landing, KILLS times on disk and as often on S3 and SFTP.
KILLS ?= 250
landing-kills: $(READY)
	VIDGEN_LANDING_KILLS=$(KILLS) $(BIN)/python -m pytest -s tests/integration/landing/test_killed_landing.py

# The tests look at the connection form, and at landed videos, in a real browser.
browser:
	@command -v chromium >/dev/null && command -v chromedriver >/dev/null || \
	  $(call apt_install,chromium chromium-driver)

# Azure's emulator, for the tests of landing.
azurite: $(READY)
	@test -x $(AZURITE)/node_modules/.bin/azurite-blob || \
	  { command -v npm >/dev/null || $(call apt_install,npm); \
	    npm install --prefix $(AZURITE) --no-package-lock --no-audit --no-fund --silent azurite@3.35.0; }

# A second S3, which is not moto, for the same.
s3rver: $(READY)
	@test -d $(S3RVER)/node_modules/s3rver || \
	  { command -v npm >/dev/null || $(call apt_install,npm); mkdir -p $(S3RVER); \
	    npm install --prefix $(S3RVER) --no-package-lock --no-audit --no-fund --silent s3rver@3.7.1; }

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) .demo .pytest_cache .mypy_cache .ruff_cache .hypothesis dist
