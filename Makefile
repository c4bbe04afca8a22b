# make install | demo | test | lint | campaign. Every target first installs the dependencies.
PYTHON ?= python3
BIN := .venv/bin
DEMO := demo
PORT ?= 8000

.PHONY: install demo openapi dashboards test lint smoke campaign lock clean

install: .venv/.installed

.venv/.installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: install
	rm -rf $(DEMO)
	sh deploy/demo.sh $(BIN) $(DEMO) $(PORT)

test: install
	$(BIN)/python -m pytest -n 2 --dist worksteal
	$(MAKE) smoke

smoke: install
	PYTHON=$(BIN)/python sh tests/smoke.sh

campaign: install
	$(BIN)/python -m pytest -n 2 --dist worksteal tests/campaign --kills 40 --mutants 150 -v

lint: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/hadolint Dockerfile
	$(BIN)/docker-compose --env-file .env.example --profile '*' config --quiet

openapi: install
	$(BIN)/warmcast openapi >docs/openapi.json

dashboards: install
	$(BIN)/python deploy/grafana/generate.py

lock: install
	printf 'torch==%s\n' "$$($(BIN)/python -c 'import torch; print(torch.__version__.split("+")[0])')" >constraints.txt
	$(BIN)/python -m pip freeze --exclude-editable | grep -vE '^(torch|warmcast|triton|nvidia-.*)==' \
		| sed "s/$$/ ; python_version == '3.11'/" >>constraints.txt

clean:
	rm -rf .venv $(DEMO) dist
