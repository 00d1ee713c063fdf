# Two virtual environments, so that serving never sees torch: .venv serves, .venv-dev trains, tests and lints.
PYTHON ?= python3
PIP = -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
SERVE := .venv/bin/python
DEV := .venv-dev/bin/python
# OpenVINO runs the model about twice as fast where the CPU multiplies bf16 in hardware, and not otherwise.
SERVE_EXTRAS := $(shell grep -qs amx_bf16 /proc/cpuinfo && echo '[openvino]')
IN ?= datasets/samples/petitions.csv
OUT ?= labelled.csv
CONFIG ?= training/configs/petition.toml
RUN ?= runs/petition

.PHONY: serve install label train bench test test-all lint format clean

.venv/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(SERVE) $(PIP) --editable '.$(SERVE_EXTRAS)'
	touch $@

.venv/.tables: .venv/.installed
	$(SERVE) $(PIP) --editable '.[tables]'
	touch $@

.venv-dev/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv-dev
	$(DEV) $(PIP) --editable '.[openvino,postgres,tables,ray,train,dev]'
	touch $@

install: .venv/.installed

serve: .venv/.installed
	.venv/bin/petitions serve

label: .venv/.tables
	.venv/bin/petitions label '$(IN)' '$(OUT)'

train: .venv-dev/.installed
	.venv-dev/bin/petitions-train fit $(CONFIG) --run $(RUN)

bench: .venv-dev/.installed .venv/.installed
	$(DEV) -m tests.benchmarks.bench

# Without what starts services, browsers, clusters and whole retrainings; `test-all` has them too.
test: .venv-dev/.installed .venv/.installed
	$(DEV) -m pytest --numprocesses auto --dist loadfile -m 'not slow'

test-all: .venv-dev/.installed .venv/.installed
	$(DEV) -m pytest --numprocesses auto --dist loadfile

lint: .venv-dev/.installed
	$(DEV) -m ruff check .
	$(DEV) -m ruff format --check .
	$(DEV) -m mypy

format: .venv-dev/.installed
	$(DEV) -m ruff check --fix .
	$(DEV) -m ruff format .

clean:
	rm -rf .venv .venv-dev build dist *.egg-info
