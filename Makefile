# Two commands matter: `make demo` (see it work) and `make test` (see it proven).

.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
BENCH_VENV := .venv-bench
LOCK := .ci/requirements.lock
CONSTRAINTS ?= $(LOCK)  # the versions to test with; empty: the newest that are allowed
PYTHON ?=  # the Python to build .venv from; empty: the first 3.11+ on PATH
SMOKE ?=  # 1: `make bench` runs for half a minute; its figures mean nothing then
HEADLESS ?=  # 1: `make demo` runs the notebook without opening a browser
WORKERS ?= auto  # processes that run tests: two more than cores, four at most; 0: this one

QUICKSTART := notebooks/01_quickstart.ipynb
DEMO_HOME := $(or $(IMAGEN_HOME),$(CURDIR)/build/demo)
LAB_FLAGS := $(if $(filter 0,$(shell id -u)),--allow-root)  # containers often run as root
EXTRAS := dask,frames,keyring,serve,store,team
PYTEST := $(BIN)/python -m pytest -n $(strip $(WORKERS)) --maxprocesses 4
CORE := not kernel and not browser and not chaos and not bench and not install and not soak
ALONE := $(BIN)/python -m pytest  # what measures, or counts processes, shares no core
# uv is many times faster where it is installed; what it cannot do here, pip does.
INSTALL = if command -v uv >/dev/null; then \
        uv pip install --quiet --python $(BIN)/python $(1) || $(BIN)/python -m pip install -qq $(1); \
    else $(BIN)/python -m pip install -qq $(1); fi

export JUPYTER_PREFER_ENV_PATH := 1  # the kernel of .venv, not one from the home folder
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help demo test lint shape unit core kernel browser bench chaos soak postgres chromium kernels models notebooks pictures docs package lock lowest newest format clean

help:  ## List what there is to make
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/make \1\t\2/' | expand -t 16

demo: $(VENV)/.stamp-demo  ## Open the quickstart in JupyterLab on the demo provider (HEADLESS=1: only run it)
ifeq ($(strip $(HEADLESS)),1)
	@mkdir -p build
	@echo 'Running $(QUICKSTART) on the demo …'
	@IMAGEN_PROVIDER=demo IMAGEN_HOME='$(DEMO_HOME)' $(BIN)/jupyter nbconvert --log-level=ERROR \
	    --to notebook --execute --output-dir build $(QUICKSTART) 2>build/demo.log || \
	    { cat build/demo.log >&2; exit 1; }
	@pictures=$$(find '$(DEMO_HOME)/images' -name '*.png' -o -name '*.jpg' -o -name '*.jpeg' -o -name '*.webp' | sort); \
	if [ -z "$$pictures" ]; then echo 'The notebook ran, but kept no picture in $(DEMO_HOME).' >&2; exit 1; fi; \
	printf 'Notebook: build/$(notdir $(QUICKSTART))\nPictures:\n%s\n' "$$pictures"
else
	@IMAGEN_PROVIDER=demo IMAGEN_HOME='$(DEMO_HOME)' exec $(BIN)/python -m tests.tools.demo $(QUICKSTART) $(LAB_FLAGS)
endif

test: $(VENV)/.stamp-dev  ## Check everything: linters, types, layers, spelling, then all tests
	@$(MAKE) --no-print-directory --jobs=2 lint chromium kernels
	$(PYTEST) -m 'not bench and not soak'

lint: $(VENV)/.stamp-dev  ## Linters, types, import layers, spelling, packaging and workflow checks
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/codespell
	$(BIN)/validate-pyproject pyproject.toml
	$(BIN)/zizmor --offline --quiet --persona=pedantic .github
	$(BIN)/repo-review . --show err

shape: $(VENV)/.stamp-dev  ## Print the numbers of the code's shape beside their goals
	$(BIN)/python -m tests.shape

unit: $(VENV)/.stamp-dev  ## The quick tests, in a minute: no processes, clusters, databases
	$(PYTEST) -m 'not slow and $(CORE)'

core: $(VENV)/.stamp-dev  ## All tests but those of kernels, browsers and installations
	$(PYTEST) -m '$(CORE)'

kernel: kernels  ## Tests in real kernels, each ipykernel of the matrix
	$(PYTEST) -m 'kernel and not bench'

browser: $(VENV)/.stamp-dev chromium  ## Tests in a real browser: JupyterLab, Notebook, Voila
	$(PYTEST) -m 'browser and not bench'

postgres: $(VENV)/.stamp-dev  ## The journal's tests on Debian's PostgreSQL instead of PyPI's
	programs=$$(.ci/postgres) && TEST_POSTGRES=$$programs \
	    $(ALONE) -q tests/test_journal.py tests/test_journal_postgres.py -k postgres

bench: $(VENV)/.stamp-dev $(BENCH_VENV)/.stamp chromium  ## Measure ours beside fal-client and raw sockets, print the table (SMOKE=1: only see it run)
	$(BIN)/python -m tests.bench $(if $(filter 1,$(strip $(SMOKE))),--smoke)

chaos: $(VENV)/.stamp-dev  ## Kill processes and drop connections on purpose, with the large counts
	IMAGEN_CHAOS_COUNT=$${IMAGEN_CHAOS_COUNT:-200} $(ALONE) -m chaos

soak: $(VENV)/.stamp-dev  ## Many generations: memory, threads and handles stay flat
	$(ALONE) -m soak

format: $(VENV)/.stamp-dev  ## Format the code, apply safe fixes
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

models: $(VENV)/.stamp-dev  ## Write the bundled models again, from the facts beside the script
	$(BIN)/python -m tests.tools.bundle_models

docs: $(VENV)/.stamp-dev  ## Build the site into build/site: pages, reference, notebooks; check its links
	$(BIN)/python -m tests.tools.docs

notebooks: $(VENV)/.stamp-dev  ## Run the notebooks on the demo and keep their small outputs
	$(BIN)/python -m tests.notebooks

pictures: $(VENV)/.stamp-dev chromium  ## Take the README's pictures
	$(BIN)/python -m tests.browser.pictures

package: $(VENV)/.stamp-dev  ## Build dist/ and check what is in it
	rm -rf dist
	$(BIN)/python -m build
	$(BIN)/twine check --strict dist/*
	$(BIN)/check-wheel-contents dist/*.whl

lock:  ## Write down the newest allowed versions of everything as those that are tested with
	rm -rf .venv-newest
	$(MAKE) VENV=.venv-newest CONSTRAINTS= .venv-newest/.stamp-dev
	.venv-newest/bin/python -m pip freeze --exclude-editable > $(LOCK)

newest:  ## The core tests with the newest versions that are allowed
	rm -rf .venv-newest
	$(MAKE) VENV=.venv-newest CONSTRAINTS= core

lowest:  ## The core tests with the lowest versions that are allowed
	@mkdir -p build
	.ci/lowest > build/lowest.txt
	$(MAKE) VENV=.venv-lowest CONSTRAINTS=build/lowest.txt core

chromium:  ## Find Chromium, or install it where that is allowed
	@.ci/chromium

kernels: $(VENV)/.stamp-dev  ## Build the environments of the ipykernel matrix
	@$(BIN)/python -m tests.kernel.environments

clean:  ## Remove environments, builds and caches
	rm -rf $(VENV) $(BENCH_VENV) .venv-lowest .venv-matrix .venv-newest build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

$(VENV)/.stamp-demo: pyproject.toml | $(VENV)/.stamp-venv
	@echo 'Installing imagen_widget and JupyterLab into $(VENV): about a minute, once …'
	@$(call INSTALL,--editable . --group demo)
	@touch $@

$(VENV)/.stamp-dev: pyproject.toml $(LOCK) | $(VENV)/.stamp-venv
	@echo 'Installing imagen_widget and what its tests need into $(VENV): a few minutes, once …'
	@$(call INSTALL,$(if $(strip $(CONSTRAINTS)),--constraint $(CONSTRAINTS)) --editable '.[$(EXTRAS)]' --group dev)
	@touch $@

$(BENCH_VENV)/.stamp: tests/bench/requirements.txt | $(VENV)/.stamp-venv
	@$(BIN)/python -m venv --clear $(BENCH_VENV) && \
	$(BENCH_VENV)/bin/python -m pip install -qq --requirement $< && \
	touch $@

$(VENV)/.stamp-venv:
	@for python in $(PYTHON) python3 python3.14 python3.13 python3.12 python3.11; do \
	    if "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	        echo "Making $(VENV) with $$("$$python" --version) …" && \
	        "$$python" -m venv $(VENV) && \
	        $(BIN)/python -m pip install -qq --upgrade 'pip>=25.1' && \
	        touch $@; \
	        exit; \
	    fi; \
	done; \
	echo 'imagen_widget needs Python 3.11 or newer and found none. Install one, or name it: make PYTHON=/path/to/python3.' >&2; \
	exit 1
