# Each target makes its own virtual environment under .venvs/ and installs what it needs into it.
# A fresh machine needs Python 3.11 or later and make, nothing else.

PYTHON ?= python3
DEMO := .venvs/demo
TEST := .venvs/test

.PHONY: demo test test-slow lint clean

demo: $(DEMO)/installed
	$(DEMO)/bin/python -m launch.demo --out=outputs/demo

test: lint
	$(TEST)/bin/python -m pytest -m "not slow" -n auto --dist=worksteal -q

test-slow: $(TEST)/installed
	$(TEST)/bin/python -m pytest -m slow -n auto --dist=worksteal -q

lint: $(TEST)/installed
	$(TEST)/bin/ruff check .
	$(TEST)/bin/ruff format --check .
	$(TEST)/bin/pyright --pythonpath $(TEST)/bin/python

$(DEMO)/installed: pyproject.toml
	$(PYTHON) -m venv $(DEMO)
	$(DEMO)/bin/python -m pip install --quiet --upgrade pip
	$(DEMO)/bin/python -m pip install --quiet --editable '.[handpose]'
	touch $@

$(TEST)/installed: pyproject.toml requirements.txt
	$(PYTHON) -m venv $(TEST)
	$(TEST)/bin/python -m pip install --quiet --upgrade pip
	$(TEST)/bin/python -m pip install --quiet --requirement requirements.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf .venvs outputs build dist *.egg-info
