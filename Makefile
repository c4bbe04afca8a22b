# make install | demo | test | lint | campaign. Every target first installs the dependencies.
PYTHON ?= python3
BIN := .venv/bin
NATURE := .venv-nature
DEMO := demo
PORT ?= 8000
# Distributions are installed without bytecode: the first process that imports a module writes it for all others.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: install demo openapi viewer dashboards test lint smoke campaign gpu lock clean

install: .venv/.installed

.venv/.installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --no-compile --constraint constraints.txt --editable '.[dev]'
	touch $@

# JCM needs more than a hundred packages, some of which change others: it has an environment of its own.
$(NATURE)/.installed: pyproject.toml constraints.txt
	test -x $(NATURE)/bin/python || $(PYTHON) -m venv $(NATURE)
	$(NATURE)/bin/python -m pip install --quiet --no-compile --constraint constraints.txt --editable '.[nature]'
	touch $@

demo: install
	rm -rf $(DEMO)
	sh deploy/demo.sh $(BIN) $(DEMO) $(PORT)

test: install
	$(BIN)/python -m pytest -n 3 --dist worksteal
	$(MAKE) smoke

smoke: install
	PYTHON=$(BIN)/python sh tests/smoke.sh

campaign: install $(NATURE)/.installed
	if command -v npm; then cd viewer && npm ci --ignore-scripts; fi
	$(BIN)/python -m pytest -n 0 tests/unit/test_viewer_build.py tests/integration/test_viewer.py -m ""
	$(BIN)/python -m pytest -n 2 --dist worksteal tests/campaign -m "" --kills 40 --mutants 200 --timeout 7200 -v
	$(BIN)/python -m pytest -n 2 --dist worksteal tests/integration tests/unit -m campaign --timeout 7200 -v
	$(BIN)/python -m pytest -n 2 --dist worksteal tests/unit/service/test_fuzz.py tests/integration/test_openapi.py --examples 400
	$(BIN)/warmcast doctor --device cpu

gpu: install
	$(BIN)/warmcast doctor --device cuda
	$(BIN)/python -m pytest -k cuda -v tests/unit/models/test_graphs.py tests/unit/models/test_rollout.py tests/unit/workers/test_recorded_products.py tests/unit/workers/test_doctor.py
	$(BIN)/warmcast bench engine --device cuda --json build/gpu.json

lint: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/hadolint Dockerfile
	$(BIN)/docker-compose --env-file .env.example --profile '*' config --quiet

openapi: install
	$(BIN)/warmcast openapi >docs/openapi.json

# Needs Node 20 or later; the built files are committed, so that nobody else does.
viewer:
	cd viewer && npm ci --ignore-scripts && npm run build

dashboards: install
	$(BIN)/python deploy/grafana/generate.py

lock: install $(NATURE)/.installed
	printf 'torch==%s\n' "$$($(BIN)/python -c 'import torch; print(torch.__version__.split("+")[0])')" >constraints.txt
	for bin in $(BIN) $(NATURE)/bin; do $$bin/python -m pip freeze --exclude-editable; done | LC_ALL=C sort -fu | grep -vE '^(torch|warmcast|triton|nvidia-.*)==' \
		| sed "s/$$/ ; python_version == '3.11'/" >>constraints.txt
	for lock in api:service,s3 worker:worker,s3; do \
		$(BIN)/python -m pip install --dry-run --ignore-installed --quiet --report - --constraint constraints.txt ".[$${lock#*:}]" \
			| $(BIN)/python deploy/lock.py deploy/locks/$${lock%%:*}.txt; \
	done

clean:
	rm -rf .venv $(NATURE) $(DEMO) dist
