# make demo   the main job on real data, in less than six minutes
# make test   lint, types and tests, in less than ten minutes
# make quick PACKAGE=tuning/search   lint, types, and the tests of one package and of the import rules
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The fast layer, in as many processes as there are cores, four at most; tests that start Ray in one of them.
FAST := -m 'not slow and not torture and not integration' -n logical --maxprocesses 4 --dist loadgroup
DAY ?= $(shell date +%Y%m%d)
STAMP := $(VENV)/.installed
PACKAGES := $(patsubst %/__init__.py,%,$(wildcard trainer/*/__init__.py tuning/*/__init__.py))
SUDO := $(if $(filter 0,$(shell id -u)),,sudo)

.PHONY: setup demo programs test quick test-slow slow-sample integration postgresql torture torture-sample \
  torture-selftest lint benchmark clean
.DEFAULT_GOAL := setup

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version.split()[0])'
	$(PYTHON) -m venv $(VENV)
	@echo "Installing torch, ray, optuna, mlflow and their dependencies: a few minutes ..."
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: setup
	@bash tools/demo.sh $(abspath $(BIN))

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy --explicit-package-bases benchmarks tools

# What the tests use of Debian's: a browser for the report, networks and system calls for reliability, a dictionary.
programs:
	@for program in chromium ip ss strace; do command -v $$program >/dev/null || missing=yes; done; \
	[ -e /usr/share/wordnet/data.noun ] || missing=yes; \
	if [ "$$missing" ]; then \
	  echo "Installing programs for the tests ..."; \
	  $(SUDO) apt-get update -qq && \
	  $(SUDO) apt-get install -y -qq --no-install-recommends chromium iproute2 strace wordnet-base >/dev/null; \
	fi

test: lint programs
	$(BIN)/python -m pytest $(FAST)

# The inner loop: less than two minutes for any package on two cores. mypy checks all, from its cache.
quick: setup
	$(if $(filter $(PACKAGE),$(PACKAGES)),,$(error PACKAGE: found '$(PACKAGE)'; allowed: $(PACKAGES)))
	@$(MAKE) --no-print-directory lint
	$(BIN)/python -m pytest $(FAST) tests/test_architecture.py tests/$(PACKAGE)

# Whole studies, and the commands of every document as they are written.
test-slow: setup programs
	$(BIN)/python -m pytest -m slow

# A part of them, another one each day; make slow-sample DAY=20261128 is that day's.
slow-sample: setup programs
	LOSSTUNE_SAMPLE=$(DAY) $(BIN)/python -m pytest -m slow

# PostgreSQL's server. Debian's package starts one of its own on port 5432, where the machine starts services; it is not used.
postgresql:
	@if ! ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1; then \
	  echo "Installing PostgreSQL for the tests ..."; \
	  $(SUDO) apt-get update -qq && \
	  $(SUDO) apt-get install -y -qq --no-install-recommends postgresql >/dev/null; \
	fi

# Studies on PostgreSQL, MLflow's server, an S3 store and three nodes of Ray, all on this machine: about 6 minutes. What needs no
# Ray runs in a second process, with servers of its own.
integration: setup programs postgresql
	$(BIN)/python -m pytest -m integration tests/integration -n 2 --dist loadgroup

# Faults injected into whole studies, and a table of what was lost: at most 20 minutes on two quiet cores, broken off after 40.
torture: setup programs postgresql
	timeout --signal=INT 2400 $(BIN)/python tools/torture.py

# A part of them, another one each day.
torture-sample: setup programs postgresql
	LOSSTUNE_SAMPLE=$(DAY) timeout --signal=INT 1200 $(BIN)/python tools/torture.py

# Takes each protection away and shows that a test notices.
torture-selftest: setup programs postgresql
	$(BIN)/python -m tools.torture_selftest

benchmark: setup
	$(BIN)/python benchmarks/pipeline.py
	$(BIN)/python benchmarks/trainer_vs_dataloader.py

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis demo build *.egg-info
