# Two commands on a fresh machine with Python (and Java 17 and Maven for the real clusters):
#   make demo    the main job, without Cassandra
#   make test    lint, types and every test

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test lint types unit counterparts cassandra cassandra-all bench deb docs clean

demo: $(STAMP)
	$(BIN)/ringcheck demo

test: lint types unit counterparts cassandra

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/mypy

unit: $(STAMP)
	$(BIN)/pytest -q -n 4 -m "not cassandra and not counterparts"

# Nagios, NRPE, Icinga, Prometheus, Alertmanager, etcd, systemd, chromium; .ci/run names their Debian packages.
counterparts: $(STAMP)
	$(BIN)/pytest -q -n 2 --dist loadfile -m counterparts

# The releases that tests/cassandra/conftest.py names for every run; cassandra-all asks all six. Most of the time is
# spent waiting for gossip, so that two files run side by side; the load of a rolling restart wants the machine alone.
CASSANDRA := $(BIN)/pytest -q -n 2 --dist loadfile -m cassandra --ignore=tests/cassandra/test_roll.py
ROLL := $(BIN)/pytest -q -m cassandra tests/cassandra/test_roll.py

cassandra: $(STAMP)
	$(CASSANDRA)
	$(ROLL)

cassandra-all: $(STAMP)
	RINGCHECK_CASSANDRA_VERSIONS=all $(CASSANDRA)
	RINGCHECK_CASSANDRA_VERSIONS=all $(ROLL)

docs: $(STAMP)
	$(BIN)/python -m tests.docs

bench: $(STAMP)
	$(BIN)/python -m tests.benchmarks

# dist/ringcheck_VERSION-1_ARCH.deb, for the Python of this machine's distribution.
deb: $(STAMP)
	packaging/build-deb

$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --upgrade "pip>=25.1"
	$(BIN)/pip install -q -e . --group dev
	touch $@

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist
