# make run: the main job on the embedded default. make test: every test. make check: what CI runs, all but clusters
# and what takes minutes; it installs the libraries of the bridges too, whose examples it runs.
PYTHON ?= python3
BIN := .venv/bin
# the pip of Python 3.11 takes a minute longer over the pages of the index than that of constraints.txt
PIP := $(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check -c constraints.txt
# pip would compile everything, with one core; what is imported is compiled then, once, if Python may write it down
unexport PYTHONDONTWRITEBYTECODE
SETTINGS ?=
PAIRS ?=

.PHONY: run test check types quick bridges versions fuzz docs format install clean

install: .venv/installed

.venv/pip:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "hyperadapters needs Python 3.11 or newer; set PYTHON=python3.11")'
	test -d .venv || $(PYTHON) -m venv .venv
	$(PIP) --upgrade pip
	touch $@

.venv/installed: pyproject.toml constraints.txt .venv/pip
	$(PIP) -e '.[dev]'
	touch $@

run: install
	rm -rf out/demo
	$(BIN)/hyperadapters compare --output out/demo $(SETTINGS)

test: install
	$(BIN)/python -m pytest

check: .venv/bridges
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(MAKE) --jobs 2 types quick

types: .venv/bridges
	$(BIN)/mypy

quick: .venv/bridges
	$(BIN)/python -m pytest -m 'not cluster and not slow'

.venv/bridges: pyproject.toml constraints.txt .venv/pip
	$(PIP) -e '.[dev,bridges]'
	touch .venv/installed $@

bridges: .venv/bridges
	$(BIN)/python tests/works_with.py
	$(BIN)/python -m experiments.documents.pages

versions: install
	$(BIN)/python tests/versions.py $(PAIRS)

.venv/docs: .venv/installed
	$(PIP) -e '.[dev,docs]'
	touch $@

docs: .venv/docs
	$(BIN)/python docs/make_methods.py
	$(BIN)/python -m sphinx -c docs -b html -d build/doctrees --fail-on-warning --keep-going --quiet . build/site
	@echo 'the site: build/site/index.html'

format: install
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf .venv out build dist

fuzz: install
	$(BIN)/python tests/fuzz/campaign.py
