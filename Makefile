# The targets set up by themselves: on a fresh clone `make demo` and `make test` are enough.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup demo test long stress coverage windows mutants bench counts lint format types docs clean

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# Processes that run the tests. All but one begin with the system tests, which mostly wait.
JOBS ?= 3
# Tests start hundreds of Python programs. Without byte code, each would compile all that it imports.
unexport PYTHONDONTWRITEBYTECODE
# A plain line in a .pth file: the usual kind has a finder in Python, which takes longer to start than Python itself.
EDITABLE := --quiet --disable-pip-version-check --config-settings editable_mode=compat --editable
# Candidates, best first; PYTHON=... puts one of your own before them.
PYTHONS := $(PYTHON) python3 python3.14 python3.13 python3.12 python3.11
SUITABLE := import sys, ensurepip, venv; sys.exit(sys.implementation.name != "cpython" or sys.version_info < (3, 11))

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' Makefile | expand -t 10

setup: $(READY) ## make .venv with everything

# pip runs again only when pyproject.toml has changed. A .venv whose Python is gone, or that came here with a moved or
# copied folder (its programs name the old one), is made anew. The file says where it was made.
ifneq ($(shell cat $(READY) 2>/dev/null),$(shell pwd -P))
.PHONY: $(READY)
endif
$(READY): pyproject.toml
	@if [ -s $@ ] && [ "$$(cat $@)" != "$$(pwd -P)" ] || ! $(BIN)/python -c '' 2>/dev/null \
		|| ! $(BIN)/pip --version >/dev/null 2>&1; then \
		for python in $(PYTHONS); do \
			if "$$python" -c '$(SUITABLE)' >/dev/null 2>&1; then found=$$python; break; fi; \
		done; \
		if [ -z "$${found:-}" ]; then \
			echo "slirpy needs CPython 3.11 or newer with its venv module (Debian, Ubuntu: apt-get install" \
				"python3-venv); found none among: $(strip $(PYTHONS)); name one with: make PYTHON=/path/to/python3" >&2; \
			exit 1; \
		fi; \
		echo "slirpy: making $(VENV) with $$("$$found" --version)"; \
		"$$found" -m venv --clear $(VENV) || exit 1; \
	fi
	@echo "slirpy: installing what pyproject.toml names into $(VENV)"
	@$(BIN)/pip install $(EDITABLE) '.[dev]'
	@pwd -P >$@

demo: $(READY) ## see it work; no privileges needed
	@$(BIN)/slirpy demo

test: $(READY) ## all tests but the long ones; a few minutes
	@$(BIN)/python -m pytest -q -p tests.spread -n $(JOBS) -m "not long and not stress"

long: $(READY) ## the tests that take seconds each; a few minutes more
	@$(BIN)/python -m pytest -q -p tests.spread -n $(JOBS) -m "long and not stress"

stress: $(READY) ## the longest tests and all examples, an hour; five minutes of fuzzing with Atheris among them
	@$(BIN)/pip install $(EDITABLE) '.[fuzz]' \
		|| echo "slirpy: no Atheris for this Python; its tests are left out"
	@$(BIN)/python -m pytest -q -m stress -o faulthandler_timeout=7200
	@SLIRPY_FULL=1 $(BIN)/python -m pytest -q -m "not stress" tests/property tests/sim/test_planted_rpc.py tests/system

coverage: $(READY) ## branches of the TCP engine that its tests miss; none may
	@$(BIN)/coverage run -m pytest -q -m "not long" tests/packetdrill tests/unit/tcp
	@$(BIN)/coverage report

windows: $(READY) ## the tests that need no Linux, by a Windows Python under Wine
	@$(BIN)/python -m tests.windows

mutants: $(READY) ## changes that the fast tests do not notice; many hours, or AREA=nat-udp for a part
	@$(BIN)/pip install $(EDITABLE) '.[mutation]'
	@$(BIN)/python -m tests.mutation $(AREA)

bench: $(READY) ## measure the figures of README.md again (Linux, root, iperf3, slirp4netns)
	@$(BIN)/python -m benchmarks

counts: $(READY) ## instructions of a frame and of a start, against those stored (valgrind)
	@$(BIN)/python benchmarks/instructions.py --compare

lint: $(READY) ## ruff: rules and format
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

format: $(READY) ## let ruff repair what it can
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

types: $(READY) ## mypy, strict
	@$(BIN)/mypy

docs: $(READY) ## build the documentation into site/
	@NO_MKDOCS_2_WARNING=true $(BIN)/mkdocs build --quiet --strict
	@echo "built: site/index.html"

clean: ## remove what the other targets made
	rm -rf $(VENV) site build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
