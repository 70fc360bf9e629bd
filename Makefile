# dedupd. `make run` and `make test` each do all the set-up they need on a fresh Debian 12.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
NOVA ?=
SEEDS ?= 3000
MINUTES ?= 5
SEED ?=
FAULTS ?= 3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --retries 5 --timeout 60 install --quiet
METADATA := setup.cfg pyproject.toml dedupd/__init__.py
CHECKED := $(wildcard dedupd tests bench model)

# In the order given: what takes long comes first, and the many short ones fill the cores at the end.
PARALLEL := -n auto --dist loadfile --no-loadscope-reorder

# Tracing for coverage slows Python's code to a third, in the processes that tests start too. These tests are about
# load, thousands of histories and a real Nova; what they run, the others run as well.
UNTRACED := $(wildcard $(addprefix tests/,integration/test_kill.py integration/test_outages.py chaos nova model \
	$(addprefix simulation/test_,histories.py defects.py aims.py)))

# These do no I/O, so that there is no excuse for a branch that no test takes.
PURE := dedupd/request.py,dedupd/token.py,dedupd/fingerprint.py,dedupd/outcome.py

# Root installs Debian packages by itself; anyone else through sudo, where there is one.
APT := $(if $(filter 0,$(shell id -u)),,sudo) env DEBIAN_FRONTEND=noninteractive apt-get --yes

.PHONY: simulate help run demo test unit chaos model lint format sample bench clean

help: ## list the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /\1\t/' | expand -t 10

run: $(VENV)/installed ## start dedupd: NOVA=http://controller:8774, else a simulated Nova
	exec $(BIN)/dedupd standalone $(if $(NOVA),--nova '$(NOVA)')

demo: $(VENV)/installed ## a retry storm with lost answers and a kill, live, in under 20 seconds
	exec $(BIN)/dedupd demo

test: $(VENV)/installed-test $(VENV)/engines ## every test, the real Nova's included
	PYTHON='$(PYTHON)' tests/nova/real/setup
	$(BIN)/pytest $(PARALLEL) $(UNTRACED)
	$(BIN)/coverage erase
	$(BIN)/pytest $(PARALLEL) --cov --cov-report= $(addprefix --ignore=,$(UNTRACED))
	$(BIN)/coverage report --fail-under=90
	$(BIN)/coverage report --fail-under=100 --include=$(PURE)

unit: $(VENV)/installed-test $(VENV)/engines ## the quick tests only, without the real Nova
	$(BIN)/pytest $(PARALLEL) $(wildcard tests/unit tests/contract)

chaos: $(VENV)/installed-test $(VENV)/engines ## torment it on real engines: MINUTES=5, SEED=any, NOVA=real
	$(if $(filter real,$(NOVA)),PYTHON='$(PYTHON)' tests/nova/real/setup)
	exec $(BIN)/python -m tests.chaos --minutes '$(MINUTES)' \
		$(if $(SEED),--seed '$(SEED)') $(if $(NOVA),--nova '$(NOVA)')

model: $(VENV)/engines ## check every schedule of the protocol's model with spin: FAULTS=3
	exec $(BIN)/python -m model --faults '$(FAULTS)'

simulate: $(VENV)/installed ## histories under faults on virtual time: SEEDS=3000; docs/simulation.md explains
	exec $(BIN)/python -m dedupd.sim.histories --seeds $(SEEDS)

lint: $(VENV)/installed-test ## ruff and mypy --strict
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy --strict $(CHECKED)

format: $(VENV)/installed-test ## put the code into ruff's form
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

sample: $(VENV)/installed ## write etc/dedupd.conf anew, from the options
	$(BIN)/python -m dedupd.conf.sample > etc/dedupd.conf.new
	mv etc/dedupd.conf.new etc/dedupd.conf

bench: $(VENV)/installed-bench $(VENV)/engines ## measure against the peers; docs/performance.md explains
	tests/engines/setup redis-server
	$(BIN)/python -m bench

clean: ## remove what building and testing leave; the environments too
	rm -rf $(VENV) .venv-nova build dist *.egg-info htmlcov .coverage .coverage.* .hypothesis \
		.mypy_cache .pytest_cache .ruff_cache
	find dedupd tests $(wildcard bench) -name __pycache__ -prune -exec rm -rf {} +

# Each stamp stands for an installation that is as new as what it was made from.
$(BIN)/python:
	$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { $(APT) update && $(APT) install python3-venv; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: $(METADATA) | $(BIN)/python
	$(PIP) --editable .
	touch $@

$(VENV)/installed-test: $(METADATA) | $(BIN)/python
	$(PIP) --editable '.[test,lint]'
	touch $@ $(VENV)/installed

# Tests start engines and a HAProxy of their own, on ports of their own; the machine's are not touched.
# spin makes C of the model. systemd is there for systemd-analyze, which reads the units in etc/.
$(VENV)/engines: tests/engines/setup | $(BIN)/python
	tests/engines/setup etcd-server rabbitmq-server haproxy systemd spin gcc libc6-dev
	touch $@

$(VENV)/installed-bench: $(METADATA) | $(BIN)/python
	$(PIP) --editable '.[bench]'
	touch $@ $(VENV)/installed
