# make demo   the main job on real data, in less than six minutes
# make test   lint, types and tests, in less than ten minutes
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
SUDO := $(if $(filter 0,$(shell id -u)),,sudo)

.PHONY: setup demo browser test test-slow lint benchmark clean
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

# Tests open the report in a real browser, Debian's.
browser:
	@command -v chromium >/dev/null || { echo "Installing chromium for the tests ..."; \
	  $(SUDO) apt-get update -qq && $(SUDO) apt-get install -y -qq --no-install-recommends chromium >/dev/null; }

test: lint browser
	$(BIN)/python -m pytest -m 'not slow'

test-slow: setup
	$(BIN)/python -m pytest -m slow

benchmark: setup
	$(BIN)/python benchmarks/pipeline.py
	$(BIN)/python benchmarks/trainer_vs_dataloader.py

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis demo build *.egg-info
