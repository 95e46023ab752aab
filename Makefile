# Two commands on a fresh machine with Python (and Java 17 and Maven for the real clusters):
#   make demo    what ringcheck does, on an embedded cluster
#   make test    lint, types and all tests
# While you work on the code:
#   make quick   lint, types and the tests that are not slow, in less than a minute on two free cores

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
LOCK_VENV := .venv-lock
UV := $(LOCK_VENV)/bin/uv
SITE_VENV := .venv-site
EXAMPLES_VENV := .venv-examples
INSIDE := not cassandra and not counterparts
# Two files at a time, as fixtures are shared within a file; those with the mark `long` first.
FILES := -n 2 --dist loadfile --no-loadscope-reorder
# Each worker begins with a quarter of the tests, in their order: what a module prepares is prepared once.
WORKERS := -n 4 --dist worksteal

# Wheels only: the build backend of a source distribution would be fetched without a hash.
LOCKED := pip install -q --disable-pip-version-check --require-hashes --only-binary :all:
COMPILE := pip compile -q --universal --python-version 3.11 --generate-hashes --custom-compile-command "make lock"
UPGRADE := --upgrade  # `make lock UPGRADE=` adds and removes requirements, and keeps all other versions

# If the environment forbids bytecode, each test process compiles all tests and the program again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test quick lint types fast unit fuzz api soak worlds counterparts cassandra cassandra-all bench deb rpm docs site examples pictures lock newest oldest clean

demo: $(STAMP)
	$(BIN)/ringcheck demo

test: lint types unit fuzz counterparts cassandra

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/mypy

quick: $(STAMP)
	$(MAKE) --no-print-directory -j 3 lint types fast

fast: $(STAMP)
	RINGCHECK_EXAMPLES=0.1 $(BIN)/pytest -q $(WORKERS) -m "$(INSIDE) and not slow"

unit: $(STAMP)
	$(BIN)/pytest -q $(WORKERS) -m "$(INSIDE)"

# Damaged replies and snapshots for the whole command: never a traceback, a false OK or an unprintable line.
SECONDS := 60
fuzz: $(STAMP)
	$(BIN)/python -m tests.fuzz --seconds $(SECONDS)

# Random requests to a running agent, compared with its OpenAPI description; `unit` sends some hundred of them.
api: $(STAMP)
	RINGCHECK_EXAMPLES=20 $(BIN)/pytest -q -n 2 tests/agent/test_openapi.py

# An agent that polls clusters which change all the time: memory, objects and threads from start to end.
POLLS := 2000
soak: $(STAMP)
	$(BIN)/python -m tests.soak --polls $(POLLS)

# Random clusters whose nodes report false things: never a false OK or SAFE. `unit` tries some hundred of them.
worlds: $(STAMP)
	$(BIN)/python -m tests.worlds --count 100000 --jobs 2

# Nagios, NRPE, Icinga, Prometheus, Alertmanager, etcd, systemd, chromium; .ci/run lists their Debian packages.
counterparts: $(STAMP)
	$(BIN)/pytest -q $(FILES) -m counterparts

# The releases that tests/cassandra/conftest.py and the test modules name; cassandra-all runs all six. Most of the time
# is spent waiting for gossip, so two files run in parallel. The loads of rolling restarts need the machine for
# themselves.
# Three files are for cassandra-all, because of the time: what the harness does wrong makes other tests fail too,
# test_states asks real nodes in most of the states in which test_collector compares them with the embedded cluster, and
# the rolling restart through the proxy differs from the others in the source only, which test_proxy tests.
CASSANDRA := $(BIN)/pytest -q $(FILES) -m cassandra --ignore-glob='tests/cassandra/test_roll*.py'
LEFT_OUT := --ignore=tests/cassandra/test_harness.py --ignore=tests/cassandra/test_collector.py
ROLL := $(BIN)/pytest -q -m cassandra tests/cassandra/test_roll.py

cassandra: $(STAMP)
	$(CASSANDRA) $(LEFT_OUT)
	$(ROLL)

cassandra-all: $(STAMP)
	RINGCHECK_CASSANDRA_VERSIONS=all $(CASSANDRA)
	RINGCHECK_CASSANDRA_VERSIONS=all $(ROLL) tests/cassandra/test_roll_proxy.py

docs: $(STAMP)
	$(BIN)/python -m tests.docs

# The pages of docs/ as a site in build/site. A link or an anchor that leads nowhere is an error; --quiet would hide it
# from mkdocs itself.
site: $(SITE_VENV)/.installed
	NO_MKDOCS_2_WARNING=1 $(SITE_VENV)/bin/mkdocs build --strict

# The examples for Ansible and jsonnet, and the Containerfile, tested with programs that have a lock of their own.
examples: $(STAMP) $(EXAMPLES_VENV)/.installed
	$(BIN)/pytest -q tests/counterparts/test_ansible.py tests/counterparts/test_mixin.py tests/test_container.py

# The pictures of the README, from the embedded cluster. Needs chromium and chromedriver.
pictures: $(STAMP)
	$(BIN)/python -m tests.pictures

bench: $(STAMP)
	$(BIN)/python -m tests.benchmarks

# dist/ringcheck_VERSION-1_ARCH.deb, for the Python of this host's distribution.
deb: $(STAMP)
	packaging/build-deb

# dist/ringcheck-VERSION-1.ARCH.rpm, for distributions with the same release of Python.
rpm: $(STAMP)
	packaging/build-rpm

# The locked releases, then ringcheck itself with the locked build backend. `pip check` fails if the lock does not
# satisfy pyproject.toml.
$(STAMP): pyproject.toml requirements/dev.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/$(LOCKED) -r requirements/dev.txt
	$(BIN)/pip install -q --disable-pip-version-check --no-index --no-deps --no-build-isolation -e .
	$(BIN)/pip check
	touch $@

$(LOCK_VENV)/.installed: requirements/lock.txt
	$(PYTHON) -m venv $(LOCK_VENV)
	$(LOCK_VENV)/bin/$(LOCKED) -r requirements/lock.txt
	touch $@

$(SITE_VENV)/.installed: requirements/site.txt
	$(PYTHON) -m venv $(SITE_VENV)
	$(SITE_VENV)/bin/$(LOCKED) -r requirements/site.txt
	touch $@

$(EXAMPLES_VENV)/.installed: requirements/examples.txt
	$(PYTHON) -m venv $(EXAMPLES_VENV)
	$(EXAMPLES_VENV)/bin/$(LOCKED) -r requirements/examples.txt
	ln -sf python $(EXAMPLES_VENV)/bin/python-with-jsonnet
	touch $@

# Updates requirements/: lock.txt has the tool that writes these files, site.txt and examples.txt what `make site` and
# `make examples` need, dev.txt everything else that this Makefile needs, and runtime.txt the libraries that the program
# needs, in the releases of dev.txt.
lock: $(LOCK_VENV)/.installed
	$(UV) $(COMPILE) $(UPGRADE) --group lock -o requirements/lock.txt
	$(UV) $(COMPILE) $(UPGRADE) --group site -o requirements/site.txt
	$(UV) $(COMPILE) $(UPGRADE) --group examples -o requirements/examples.txt
	$(UV) $(COMPILE) $(UPGRADE) --group dev pyproject.toml -o requirements/dev.txt
	$(UV) $(COMPILE) --upgrade -c requirements/dev.txt pyproject.toml -o requirements/runtime.txt

# The tests with the newest releases that pyproject.toml allows; below, with the oldest of the program's own libraries.
newest:
	$(PYTHON) -m venv --clear .venv-newest
	.venv-newest/bin/pip install -q --upgrade "pip>=25.1"
	.venv-newest/bin/pip install -q -e . --group test --group build
	.venv-newest/bin/pip freeze --exclude-editable
	.venv-newest/bin/pytest -q -n 4 -m "$(INSIDE)"

oldest: $(LOCK_VENV)/.installed
	$(PYTHON) -m venv --clear .venv-oldest
	$(UV) pip compile --resolution lowest-direct --no-annotate --no-header pyproject.toml -o .venv-oldest/runtime.txt
	$(UV) pip install -q --python .venv-oldest/bin/python -r .venv-oldest/runtime.txt --group test --group build -e .
	.venv-oldest/bin/pytest -q -n 4 -m "$(INSIDE)"

clean:
	rm -rf $(VENV) $(LOCK_VENV) $(SITE_VENV) $(EXAMPLES_VENV) .venv-newest .venv-oldest .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist
