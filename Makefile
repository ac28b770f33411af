# `make demo`, `make check`, `make test`, `make bench`: each makes .venv and installs all it needs.
# `make docs` makes the site, in .venv-docs, without torch.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DOCS := .venv-docs
# With LOCKED set only files with the hashes of requirements.lock are installed (Python 3.11.5 on).
PINNED := $(if $(LOCKED),--require-hashes -r requirements.lock,-r requirements-dev.txt)

.PHONY: demo test check portability soak matrix fuzz lock lint types tests quick-tests docs bench bench-accuracy install clean

demo: $(READY)
	@echo "Training on built-in characters, a few minutes; 1,000 iterations."
	@$(BIN)/l2l-omniglot train --data synthetic --iterations 1000 --validation-every 250
	@echo "Fine-tuning a copy on each of 200 test tasks; accuracy after each step of it:"
	@$(BIN)/l2l-omniglot evaluate --tasks 200
	@echo "Done. Next: source $(BIN)/activate, then"
	@echo "  l2l-omniglot predict examples/pictures/support examples/pictures/query"
	@echo "  l2l-omniglot draw      (a page to draw on)"
	@echo "  l2l-omniglot report    (what was trained here, as report.html)"

PYTEST := $(BIN)/python -m pytest --numprocesses 2 --dist loadgroup

# Side by side, each to its end: make fails if one of them does.
test: $(READY)
	@$(MAKE) --no-print-directory --jobs 3 --keep-going tests lint types

check: $(READY)
	@$(MAKE) --no-print-directory --jobs 3 --keep-going quick-tests lint types

tests: $(READY)
	$(PYTEST) --durations=25

quick-tests: $(READY)
	$(PYTEST) -m "not slow"

# Two hours: the tests as on other processors, and on a machine of half the speed (CONTRIBUTING.md).
portability: $(READY)
	$(BIN)/python -m tools.portability

# An hour: real trainings, injured more than 500 times (docs/reliability.md).
soak: $(READY)
	$(BIN)/python tests/soak.py --kills 500

# Ten minutes for each reader of strangers' files, guided by coverage.
fuzz: $(READY)
	$(BIN)/python -m pip install --quiet atheris==3.0.0
	$(BIN)/python tests/fuzz.py --seconds 600

# The hashes of the pinned set, from the package index; that every Python has a file of every pin.
lock: $(READY)
	$(BIN)/python -m pip install --quiet uv==0.13.9
	$(BIN)/python -m tools.lock

# Every option with every kind of wrong value, 5 minutes; `make test` tries one kind of each.
matrix: $(READY)
	FULL_MATRIX=1 $(PYTEST) tests/cli/test_matrix.py

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy

docs: $(DOCS)/.ready
	NO_MKDOCS_2_WARNING=1 PATH="$(CURDIR)/$(DOCS)/bin:$$PATH" mkdocs build --strict

bench: $(READY)
	$(BIN)/python -m benchmarks

bench-accuracy: $(READY)
	$(BIN)/python -m benchmarks.time_to_accuracy $(if $(MINUTES),--minutes $(MINUTES))

install: $(READY)

$(READY): requirements-torch.txt requirements.txt requirements-dev.txt requirements-docs.txt setup.cfg
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, 10) <= v <= (3, 13) else f"Python {v[0]}.{v[1]} found; expected 3.10 to 3.13: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet "pip>=23.1"
	$(BIN)/python -m pip install -r requirements-torch.txt
	$(BIN)/python -m pip install --no-deps $(PINNED)
	$(BIN)/python -m pip install --no-deps --editable .
	touch $@

$(DOCS)/.ready: requirements-docs.txt
	$(PYTHON) -m venv $(DOCS)
	$(DOCS)/bin/python -m pip install -r requirements-docs.txt
	touch $@

clean:
	rm -rf $(VENV) $(DOCS) site build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
