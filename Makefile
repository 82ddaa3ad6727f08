# From a fresh clone, with Python 3.11 or newer and a C compiler:
#
#   make run                        build and run the broker
#   make run ARGS="-p 4333 -m 8222" the same with flags; ARGS=--help lists them
#   make test                       build and run all tests
#   make test ARGS="tests/protocol" some of them: arguments of pytest
#   make lint                       ruff: rules and format
#   make clients                    client programs of other languages for tests/conformance (optional)
#   make clean                      remove what a build left in the tree; the environment in .venv stays
#
# Stamp files in .venv remember what is done, so that a second call starts at once.

PYTHON ?= $(shell for each in python3 python3.13 python3.12 python3.11; do \
	$$each -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$each && break; done)
VENV ?= .venv
BIN := $(VENV)/bin
CACHE ?= .cache
JOBS ?= $(shell getconf _NPROCESSORS_ONLN 2>/dev/null || echo 1)
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
# Prints the lists at the given places of pyproject.toml, one requirement a line.
REQUIREMENTS := $(BIN)/python -c 'import functools, sys, tomllib; \
	project = tomllib.load(open("pyproject.toml", "rb")); \
	places = [functools.reduce(dict.__getitem__, name.split("."), project) for name in sys.argv[1:]]; \
	print(*sum(places, []), sep="\n")'
NATS_CLI_VERSION ?= v0.5.1
ARGS ?=

# What a compiled module is made of: Cython files, and every .py that has a .pxd beside it.
CYTHON_FILES := $(shell find shardbroker -name '*.pyx' -o -name '*.pxd' -o -name '*.h')
COMPILED_PYTHON := $(wildcard $(patsubst %.pxd,%.py,$(filter %.pxd,$(CYTHON_FILES))))

.PHONY: run test lint clients clean build
.DEFAULT_GOAL := run

run: $(VENV)/.tools-run $(VENV)/.built
	@exec $(BIN)/python -m shardbroker $(ARGS)

test: $(VENV)/.tools-test $(VENV)/.built
	@$(BIN)/python tests/run_all.py $(ARGS)

lint: $(VENV)/.tools-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

build: $(VENV)/.built

$(VENV)/.environment:
	@test -n "$(PYTHON)" || { echo "shardbroker needs Python 3.11 or newer; none was found." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

# What pyproject.toml asks for, to build and to run. The package itself is not installed: it is compiled in
# place, and a .pth file makes this tree importable. (`pip install --editable .` would compile everything anew
# in a directory of its own, a minute each time.)
$(VENV)/.tools-run: $(VENV)/.environment pyproject.toml
	$(REQUIREMENTS) build-system.requires project.dependencies > $(VENV)/requirements.txt
	$(PIP) install --requirement $(VENV)/requirements.txt
	@$(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' > $(VENV)/.purelib
	@echo "$(CURDIR)" > "$$(cat $(VENV)/.purelib)/shardbroker.pth"
	@touch $@

$(VENV)/.tools-test: $(VENV)/.tools-run
	$(REQUIREMENTS) project.optional-dependencies.test > $(VENV)/requirements-test.txt
	$(PIP) install --requirement $(VENV)/requirements-test.txt
	@touch $@

$(VENV)/.built: $(VENV)/.tools-run setup.py $(CYTHON_FILES) $(COMPILED_PYTHON)
	$(BIN)/python setup.py --quiet build_ext --inplace --parallel $(JOBS)
	@touch $@

# Each is optional: a missing one skips its tests and says so.
clients:
	@mkdir -p $(CACHE)/js $(CACHE)/bin && printf '*\n' > $(CACHE)/.gitignore
	@if command -v npm >/dev/null; then \
		test -d $(CACHE)/js/node_modules/@nats-io/obj || \
		{ cp tests/conformance/js/package.json $(CACHE)/js/ && cd $(CACHE)/js && \
		npm install --no-audit --no-fund --no-package-lock --loglevel=error; } || \
		echo "clients: the JavaScript client could not be installed; its tests will be skipped"; \
	else echo "clients: no npm; the tests of the JavaScript client will be skipped"; fi
	@if command -v go >/dev/null; then \
		test -x $(CACHE)/bin/nats || \
		GOBIN="$(abspath $(CACHE))/bin" go install github.com/nats-io/natscli/nats@$(NATS_CLI_VERSION) || \
		echo "clients: the nats command could not be installed; its tests will be skipped"; \
	else echo "clients: no go; the tests of the nats command will be skipped"; fi
	@printf '#include <nats/nats.h>\n' | $${CC:-cc} -E - >/dev/null 2>&1 || \
		echo "clients: no libnats (Debian: libnats-dev); the test of the C client will be skipped"

clean:
	rm -rf build dist *.egg-info $(VENV)/.built
	find shardbroker \( -name '*.so' -o -name '*.c' \) -delete
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
