# The commands that people and CI both run. Each sets up what it needs from a CPython (3.11 or later), a C compiler
# and make: a virtual environment in .venv and the compiled core, both only when something changed.

python := .venv/bin/python
READY := .venv/.ready
BENCH_READY := .venv/.bench-ready
WHEELS_READY := .venv/.wheels-ready
DOCS_READY := .venv/.docs-ready
BUILT := build/release/.built
CORE := $(shell find src -name '*.pyx' -o -name '*.pxd' -o -name '*.h') setup.py $(wildcard ci/compiling/*.py)

# Hundreds of processes of the tests import the package: its byte code is kept, whatever the environment says.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help build demo test slow lint guard bench promises compare services fuzz soak sanitize coverage wheel wheels ci-wheels cross-check release-check docs clean distclean

help: ## list these commands
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 18

build: $(BUILT) ## set up .venv and compile the core in place

demo: $(BUILT) ## show what fastrpc does, in a minute
	$(python) tests/examples/demo.py

test: $(BUILT) ## run the tests but those of slow, lint, services and promises; FASTRPC_TEST_SCALE=n makes them n times larger, ARGS="-k name" chooses
	$(python) -m pytest --ignore=tests/services $(shell sed s/^/--ignore=/ ci/own_tests.txt) -n 7 --dist each --max-worker-restart 0 -m "not measures and not slow" -rsfE --durations=10 $(ARGS)

slow: $(BUILT) ## run the tests that take 0.2 s of processor time and more, which tests/slow_tests.txt names
	$(python) -m pytest $(shell sed s/::.*// tests/slow_tests.txt | uniq) -n 6 --dist worksteal -m slow -rsfE $(ARGS)

lint: $(BUILT) ## check style, types, stubs, documents and the rules of the tree
	ci/lint

guard: $(BUILT) ## count the instructions of the hot paths against their record; ARGS=--update records them
	ci/guard $(ARGS)

bench: $(BUILT) ## run the benchmarks of parts, echo, codecs, compressors and scenarios
	ci/bench $(ARGS)

promises: $(BUILT) ## measure times, rates and memory against what is promised; ARGS="idle_memory counters" chooses
	ci/promises $(ARGS)

compare: $(BUILT) $(BENCH_READY) ## measure fastrpc beside a bare C echo and other stacks; ARGS=--quick for a look
	$(python) -m bench.compare $(ARGS)

services: $(BUILT) ## run the tests with real servers and other programs, which it starts; ARGS="-k name" chooses
	ci/services $(ARGS)

fuzz: $(BUILT) ## try all random inputs of the property tests under a new seed; FASTRPC_TEST_SEED=n repeats one
	ci/fuzz $(ARGS)

soak: export FASTRPC_TEST_SCALE ?= 10
soak: $(BUILT) $(BENCH_READY) ## run the tests ten times larger, those with real servers and the suites of conformance with them
	$(python) -m pytest --ignore=tests/services $(ARGS)
	ci/services -m "" $(ARGS)

sanitize: $(READY) ## run the tests under address and undefined-behaviour sanitizers
	ci/sanitize $(ARGS)

coverage: $(READY) ## measure which lines of the package, compiled ones too, the tests reach
	ci/coverage $(ARGS)

wheel: $(READY) ## build and check the source distribution and the wheel, into dist/
	ci/wheel

wheels: $(READY) $(WHEELS_READY) ## build wheels for CPython 3.11 to 3.15 on x86_64 and aarch64, into dist/; ARGS="--versions 3.13" chooses
	$(python) -m ci.wheels $(ARGS)

ci-wheels: $(READY) ## build and test the wheels of this system with cibuildwheel, into wheelhouse/; Linux needs a container engine
	ci/install cibuildwheel==4.3.5
	$(python) -m cibuildwheel --output-dir wheelhouse

cross-check: $(READY) $(WHEELS_READY) ## compile the core for macOS and musl; nothing of it is run
	$(python) -m ci.wheels --check $(ARGS)

release-check: $(READY) $(WHEELS_READY) ## check version, changelog and metadata, and that two builds of a wheel are equal
	ci/release_check

docs: $(READY) $(DOCS_READY) ## build the site of guide, reference and protocol into site/; a broken link fails it
	$(python) -m ci.site

clean: ## remove everything built, but keep .venv
	rm -rf build dist site wheelhouse .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find src -name '*.so' -delete

distclean: clean ## remove .venv and fetched programs too
	rm -rf .venv .cache src/fastrpc.egg-info

$(READY): pyproject.toml ci/groups.py ci/setup
	ci/setup

$(BENCH_READY): pyproject.toml ci/setup_bench $(READY)
	ci/setup_bench

$(WHEELS_READY): pyproject.toml $(READY)
	$(python) ci/groups.py wheels > .venv/wheels-requirements.txt
	ci/install --requirement .venv/wheels-requirements.txt
	touch $@

$(DOCS_READY): pyproject.toml $(READY)
	$(python) ci/groups.py docs > .venv/docs-requirements.txt
	ci/install --requirement .venv/docs-requirements.txt
	touch $@

$(BUILT): $(CORE) $(READY)
	ci/build release
	touch $@
