# Kapstok. `make up` runs it, `make test` proves it.
UV_VERSION = 0.13.9
PYTHON ?= python3
VENV = .venv/bin
HOME_DIR ?= .local
PORT_BASE ?= 8000
export UV_PYTHON_DOWNLOADS = never

.PHONY: up test check test-quick faults soak fuzz bench contracts views verify rebuild retry park release forget token browser help

help:       ## what there is
	@grep -E '^[a-z-]+: .*##' $(MAKEFILE_LIST) | sed 's/:[^#]*## /\t/'

up: .venv/ready          ## run everything here, with the real facts (DEMO=1 adds marked invented reports)
	@$(VENV)/python -m deploy.local --home $(HOME_DIR) --port-base $(PORT_BASE) $(if $(DEMO),--demo)

test: .venv/ready browser check          ## every test, with real PostgreSQL, nats-server and browser
	$(VENV)/pytest -n 2 --dist loadscope

test-quick: .venv/ready          ## without the browser and the faults
	$(VENV)/pytest -n 2 --dist loadscope -m "not browser and not fault"

check: .venv/ready          ## format, lint and types
	$(VENV)/ruff format --check . && $(VENV)/ruff check . && $(VENV)/mypy shared services deploy bench

faults: .venv/ready          ## every fault for real, with a result per row in docs/reliability.md
	FAULTS_REPORT=docs/reliability.md $(VENV)/pytest tests/faults -n 2 --dist loadscope -q

soak: .venv/ready          ## faults at random while writers go on: make soak MINUTES=30, SEED=… to have the same again
	@$(VENV)/python -m tests.faults.soak --minutes $(or $(MINUTES),5) $(if $(SEED),--seed $(SEED)) $(SOAK)

fuzz: .venv/ready          ## 10,000 mutated bodies a service, and every contract in depth: no 5xx, nothing half saved
	FUZZ=10000 CONTRACT_EXAMPLES=10 $(VENV)/pytest -q -k "whatever or contract_holds" tests/test_wrong_input.py tests/test_contract_holds.py

bench: .venv/ready          ## how fast: each promise with its limit in the same run
	@$(VENV)/python -m bench.visible
	@$(VENV)/python -m bench.bulk

contracts: .venv/ready          ## OpenAPI, AsyncAPI and JSON Schemas as files, from the code; PUBLISH=1 makes them a promise
	@$(VENV)/python -m deploy.contracts $(if $(PUBLISH),--publish)

TEND = $(VENV)/python -m deploy.tend --home $(HOME_DIR)

views: .venv/ready          ## how far each view is, what it stopped at, what is parked; needs `make up` running, as do the next
	@$(TEND) show

verify: .venv/ready          ## check logs, streams and views against each other; names the first difference
	@$(TEND) verify

rebuild: .venv/ready          ## make reporting's view again from the logs, beside the live one, compare and switch
	@$(TEND) rebuild reporting

retry: .venv/ready          ## try now what a view stopped at: make retry SERVICE=reporting
	@$(TEND) retry $(SERVICE)

park: .venv/ready          ## leave it aside: make park SERVICE=reporting OWNER=programme BY=coordinator REASON='why'
	@$(TEND) park $(SERVICE) --owner $(OWNER) --by '$(BY)' --reason '$(REASON)'

release: .venv/ready          ## take it up after all: make release SERVICE=reporting ID=… BY=coordinator
	@$(TEND) release $(SERVICE) --id $(ID) --by '$(BY)'

forget: .venv/ready          ## erase an account from beside the logs: make forget ACCOUNT=…
	@$(TEND) forget --account '$(ACCOUNT)'

token: .venv/ready          ## a token of the local issuer: make token ORGANISATION=politie FUNCTION=reporter
	@$(VENV)/python -m deploy.issuer $(ORGANISATION) $(FUNCTION) --home $(HOME_DIR)

browser:
	@command -v chromium >/dev/null || deploy/install-chromium

.venv/ready: pyproject.toml uv.lock
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "Python's venv is missing: apt-get install -y python3-venv"; exit 1; }
	@test -x .boot/bin/uv || { $(PYTHON) -m venv .boot && .boot/bin/pip install -q uv==$(UV_VERSION); }
	.boot/bin/uv sync --locked --all-extras -q
	@touch $@
