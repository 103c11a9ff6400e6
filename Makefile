# Everything needed: Python 3.11 or newer with venv and pip, GNU make, gcc/g++. `make help` lists
# the targets.
#
# Each target has its own virtual environment and installs Moiety in it as a user would
# (`pip install .`). Those of the tests take the distributions that requirements/*.lock name, where
# these fit this Python, and compare each file's hash (docs/dependencies.md); LOCK=no takes the
# newest instead. A stamp file makes the next run start at once.

PYTHON ?= python3
PYTEST_ARGS ?= -n 2
DEMO_ARGS ?=
# Parts by name; one with a space in its name within quotes: TRUST_ARGS="wheel 'known answers'".
TRUST_ARGS ?=
BENCH_OUT ?= out/bench
FUZZ_ARGS ?= --seconds 600

VENV := .venv
VENV_TEST := .venv-test
VENV_EXTRAS := .venv-extras
VENV_DOCS := .venv-docs
VENV_LINT := .venv-lint
VENV_TRUST := .venv-trust
LOCKS := $(wildcard requirements/*)
PACKAGES := compiler runtime protocols models
NATIVE := $(shell find native tests/native -name '*.?pp')
SOURCES := pyproject.toml CMakeLists.txt README.md LICENSE \
	$(shell find $(PACKAGES) native -type f ! -name '*.pyc' ! -name '.*' ! -name README.md 2>/dev/null)

# One thread per party: a BLAS that takes both cores in both parties is slower, and no measurement
# of it can be compared.
export OPENBLAS_NUM_THREADS ?= 1
export OMP_NUM_THREADS ?= 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export LOCK

.DEFAULT_GOAL := help
.PHONY: help demo test test-extras test-reference trust fuzz wheel sbom lock docs lint format types bench clean

help:  ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/.installed  ## Private inference of the shipped DenseNet-121, two processes
	$(VENV)/bin/moiety demo $(DEMO_ARGS)

test: $(VENV_TEST)/.installed  ## The whole test suite, against the installed package
	$(VENV_TEST)/bin/python -m pytest -o addopts= $(PYTEST_ARGS)

test-extras: $(VENV_EXTRAS)/.installed  ## What needs Ray, a browser or the documentation site's tools
	$(VENV_EXTRAS)/bin/python -m pytest -o addopts= $(PYTEST_ARGS) tests/extras

test-reference: $(VENV_TEST)/.installed  ## The same suite on the NumPy reference kernels (slow)
	MOIETY_KERNELS=reference $(VENV_TEST)/bin/python -m pytest -o addopts= $(PYTEST_ARGS)

fuzz: $(VENV_TRUST)/.installed  ## Ten minutes of changed inputs for each reader of foreign files and bytes
	$(VENV_TRUST)/bin/python -m tests.fuzz --out out/fuzz $(FUZZ_ARGS)

trust: $(VENV_TRUST)/.installed  ## Every check of what Moiety claims, ended after 30 minutes: out/trust/trust.md
	$(VENV_TRUST)/bin/python -m tests.trust $(TRUST_ARGS)

wheel: $(VENV_TRUST)/.installed  ## The reproducible wheel, under the oldest Linux it runs on: out/wheel
	$(VENV_TRUST)/bin/python -m tests.supply.wheel

sbom: $(VENV_TRUST)/.installed  ## Bills of materials of the lock files: out/sbom
	$(VENV_TRUST)/bin/python -m tests.supply.sbom

lock: $(VENV_LINT)/.installed  ## Write requirements/*.lock anew, with the newest versions that fit
	$(VENV_LINT)/bin/python -m tests.supply.lock

docs: $(VENV_DOCS)/.installed  ## The documentation as a site, for any browser: build/site/index.html
	NO_MKDOCS_2_WARNING=1 $(VENV_DOCS)/bin/mkdocs build --strict --quiet

lint: types $(VENV_LINT)/.installed  ## Formatting, lint rules and types, changing nothing
	$(VENV_LINT)/bin/ruff format --check .
	$(VENV_LINT)/bin/ruff check .
	$(VENV_LINT)/bin/clang-format --dry-run --Werror $(NATIVE)

# mypy wants the package's folders under their installed name; links give it that without a
# `moiety/` folder in the tree.
types: $(VENV_LINT)/.installed  ## Types alone, tests included (mypy, strict)
	@mkdir -p build/types/moiety
	@for p in $(PACKAGES); do ln -sfn ../../../$$p build/types/moiety/$$p; done
	@for p in benchmarks tests; do ln -sfn ../../$$p build/types/$$p; done
	cd build/types && ../../$(VENV_LINT)/bin/mypy --config-file ../../pyproject.toml \
		--cache-dir ../../.mypy_cache -p moiety -p benchmarks -p tests

format: $(VENV_LINT)/.installed  ## Rewrite the sources as ruff and clang-format format them
	$(VENV_LINT)/bin/ruff format .
	$(VENV_LINT)/bin/ruff check --fix .
	$(VENV_LINT)/bin/clang-format -i $(NATIVE)

bench: $(VENV_TEST)/.installed  ## All benchmarks at full size, most of an hour; rows go to out/bench
	mkdir -p $(BENCH_OUT)
	$(VENV_TEST)/bin/python -m benchmarks.protocols --json $(BENCH_OUT)/protocols.json
	$(VENV_TEST)/bin/python -m benchmarks.correlations --json $(BENCH_OUT)/correlations.json
	$(VENV_TEST)/bin/python -m benchmarks.inference --rounding exact --runs 3 \
		--json $(BENCH_OUT)/inference-exact.json
	$(VENV_TEST)/bin/python -m benchmarks.inference --rounding stochastic --runs 3 \
		--json $(BENCH_OUT)/inference-stochastic.json
	$(VENV_TEST)/bin/python -m benchmarks.accuracy_vs_bits -o $(BENCH_OUT)/bits \
		--plot $(BENCH_OUT)/accuracy.svg

clean:  ## Remove environments and build folders
	rm -rf $(VENV) $(VENV_TEST) $(VENV_EXTRAS) $(VENV_TRUST) $(VENV_DOCS) $(VENV_LINT) build .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(VENV)/.installed: $(SOURCES)
	$(call environment,$(VENV))
	$(VENV)/bin/pip install -q -C build-dir=$(VENV)/build '.[compiler,dicom]'
	@touch $@

$(VENV_TEST)/.installed: $(SOURCES) $(LOCKS)
	$(call environment,$(VENV_TEST))
	$(call install,$(VENV_TEST),test)
	@touch $@

$(VENV_EXTRAS)/.installed: $(SOURCES) $(LOCKS)
	$(call environment,$(VENV_EXTRAS))
	$(call install,$(VENV_EXTRAS),extras)
	@touch $@

$(VENV_TRUST)/.installed: $(SOURCES) $(LOCKS)
	$(call environment,$(VENV_TRUST))
	$(call install,$(VENV_TRUST),trust)
	@touch $@

# The site and the checkers need no Moiety, only what pyproject.toml lists for them.
$(VENV_DOCS)/.installed: pyproject.toml
	$(call environment,$(VENV_DOCS))
	$(VENV_DOCS)/bin/pip install -q $(call listed,p['optional-dependencies']['docs'])
	@touch $@

$(VENV_LINT)/.installed: pyproject.toml
	$(call environment,$(VENV_LINT))
	$(VENV_LINT)/bin/pip install -q $(call listed,p['dependencies'] + \
		p['optional-dependencies']['compiler'] + p['optional-dependencies']['dev'])
	@touch $@

listed = $(shell $(PYTHON) -c "import tomllib; \
	p = tomllib.load(open('pyproject.toml', 'rb'))['project']; \
	print(*('\'%s\'' % r for r in $(1)))" 2>/dev/null)

# Environment, lock file and extra. The environments of the tests share a build folder.
install = $(PYTHON) requirements/install.py $(1) $(2) --build-dir $(VENV_TEST)/build

define environment
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and \
		"Moiety needs Python 3.11 or newer, this is " + sys.version.split()[0] + \
		"; run make PYTHON=/path/to/python3.11")'
	@test -x $(1)/bin/python || $(PYTHON) -m venv $(1)
endef
