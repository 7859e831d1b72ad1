# Needs python3 >= 3.11 with venv, and a package registry that pip can reach.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: digits test slow lint faults docs lock clean

digits: .venv/ready  ## train the default experiment on real data, beside an SVM
	$(BIN)/deeplearn train classification

test: .venv/ready  ## everything but the trainings to a promised result; a third process for two cores, as some tests wait
	$(BIN)/python -m pytest -n 3 --dist loadfile

# These first: they are over in some ten minutes, and the trainings may not all fit into the time there is.
SPREAD := tests/test_schedulers.py tests/test_sweep.py tests/test_processes.py tests/test_exact_everywhere.py
slow: .venv/ready  ## real schedulers and many processes; then train experiments to the results they promise
	$(BIN)/python -m pytest -m slow $(SPREAD)
	$(BIN)/python -m pytest -m slow $(SPREAD:%=--ignore=%)

lint: .venv/ready
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/pyrefly check

faults: .venv/ready  ## kill, damage and starve small runs; the whole table is in docs/reliability.md
	$(BIN)/deeplearn bench faults --quick --seed 3

docs: .venv/docs  ## the documentation and the reference as one site, .site/index.html; a warning is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict  # --quiet would not count warnings

.venv/docs: .venv/ready docs/requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r docs/requirements.lock
	touch $@

# The package itself goes in without its dependencies: the lock has them, with hashes.
.venv/ready: requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "deeplearn needs Python 3.11 or newer; run: make PYTHON=python3.13")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

lock:  ## renew requirements.lock (needs uv)
	uv pip compile pyproject.toml --extra all --group dev --no-emit-package deeplearn --universal --python-version 3.11 --generate-hashes \
		--no-header --no-annotate --upgrade -o requirements.lock
	uv pip compile --group docs --constraints requirements.lock --no-emit-package deeplearn --universal --python-version 3.11 \
		--generate-hashes --no-header --no-annotate --upgrade -o docs/requirements.lock

clean:
	rm -rf .venv .site runs
