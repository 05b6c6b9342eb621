# One word each; the README says what they are for.
PORT ?= 8080
NEW_ENOUGH := -c 'import sys; sys.exit(sys.version_info < (3, 11))'
# One that was built well, if there is one: docs/decisions/0017 tells what it saves.
PYTHON ?= $(shell for liked in '-I src/fairlead/cli/doctor/interpreter.py' "$(NEW_ENOUGH)"; do \
	for name in python3.11 python3.12 python3.13 python3 /usr/bin/python3; do \
		eval $$name $$liked 2>/dev/null && command -v $$name && exit; done; done)
VENV := .venv
BIN := $(VENV)/bin
RUN := $(VENV)/.run-$(shell cksum requirements.lock | cut -d' ' -f1)
DEV := $(VENV)/.dev-$(shell cksum requirements-dev.lock | cut -d' ' -f1)
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input install --require-hashes --no-deps --progress-bar on

# Bytecode is written whatever the environment says: without it each start would compile everything again.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help demo test fuzz lint dev bench soak chaos conformance lock swagger-ui clean

help: ## what there is
	@grep -E '^[a-z-]+:.*## ' Makefile | sed -E 's/^([a-z-]+):.*## /  make \1\t/'

demo: $(RUN) ## a gateway with simulated models; PORT=8080, ONCE=1 leaves after one answer
	@$(BIN)/fairlead demo --port $(PORT) $(if $(ONCE),--once)

test: $(DEV) ## all tests; ARGS="tests/http -k drain" for some, COVERAGE=1
	$(BIN)/python -m pytest -n 2 $(if $(COVERAGE),--cov --cov-report=term) $(ARGS)

fuzz: $(DEV) ## 100,000 mutated recordings for each decoder of each format; BODIES=, SEED=
	MUTATED_BODIES=$(or $(BODIES),100000) $(if $(SEED),MUTATED_SEED=$(SEED)) \
		$(BIN)/python -m pytest -n 2 --dist worksteal tests/protocols/test_mutated.py

lint: $(DEV) ## ruff and mypy --strict
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

dev: $(RUN) ## serve, and start again when the source changes
	$(BIN)/watchfiles --filter python "$(BIN)/fairlead serve $(ARGS)" src

bench: $(DEV) ## the gateway beside nginx and other gateways, into bench/RESULTS.md; QUICK=1 beside nginx, in seven minutes
	$(BIN)/python bench/run.py $(if $(QUICK),--quick)

soak: $(DEV) ## a million requests, 100,000 streams, faults, hang-ups; into bench/SOAK.md; QUICK=1, SOAK_REQUESTS=
	$(BIN)/python bench/soak.py $(if $(QUICK),--requests 50000) $(if $(SOAK_REQUESTS),--requests $(SOAK_REQUESTS))

chaos: $(DEV) ## a gateway that dies 200 times, and what its ledger says; into docs/chaos.md; SEED=, QUICK=1
	PYTHONPATH=src:tests $(BIN)/python tests/chaos.py $(if $(SEED),--seed $(SEED)) $(if $(QUICK),--quick,--into docs/chaos.md)

conformance: $(DEV) ## any format to any, as the vendors' SDKs see it; into docs/conformance.md; ONLY=openai-chat/gemini
	$(BIN)/fairlead conformance $(if $(ONLY),--only $(ONLY),--write docs/conformance.md)

lock: ## pin what requirements*.in ask for
	for name in requirements requirements-dev; do \
		uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
			--no-header $$name.in -o $$name.lock; done

# Another version: its number, and what `npm view swagger-ui-dist@VERSION dist.integrity` says.
SWAGGER_UI := 5.35.0
SWAGGER_UI_INTEGRITY := sha512-U06rpMtW9V3XPGOBeamTUSr0Z09jMX4IJuANpE/EZbAhw0G8CgwrzU4YmXkn/h0wCDNsXdGarTNNHC3sU8yVUQ==
SWAGGER_UI_FILES := swagger-ui-bundle.js swagger-ui-bundle.js.LICENSE.txt swagger-ui.css LICENSE NOTICE
swagger-ui: ## fetch the files of the page /docs anew, as they are pinned here; needs npm
	@folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && cd "$$folder" \
		&& npm pack --silent swagger-ui-dist@$(SWAGGER_UI) >/dev/null && tar xzf *.tgz \
		&& echo "$(SWAGGER_UI_INTEGRITY) sha512-$$(openssl dgst -sha512 -binary *.tgz | openssl base64 -A)" \
			| { read -r wanted got; [ "$$wanted" = "$$got" ] || { echo "this is not the pinned file: $$got"; exit 1; }; } \
		&& cd package && cp $(SWAGGER_UI_FILES) "$(CURDIR)/src/fairlead/http/static/swagger-ui/" \
		&& echo "swagger-ui-dist $(SWAGGER_UI)" > "$(CURDIR)/src/fairlead/http/static/swagger-ui/VERSION"

clean: ## everything that was made here
	rm -rf $(VENV) .demo .fairlead .mypy_cache .ruff_cache .pytest_cache .hypothesis bench/.scratch .coverage*

# What is installed is known by the lock's content, so that a second run does nothing.
$(BIN)/python:
	@test -n "$(PYTHON)" && $(PYTHON) $(NEW_ENOUGH) \
		|| { echo "Fairlead needs Python 3.11 or newer: make demo PYTHON=/path/to/python3.11"; exit 1; }
	@echo "Creating $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
		echo "This Python makes no virtual environments: install its venv module (python3-venv on Debian)"; exit 1; }

$(RUN): requirements.lock | $(BIN)/python
	@echo "Installing what Fairlead needs"
	@$(PIP) -r requirements.lock
	@$(MAKE) --no-print-directory paths
	@rm -f $(VENV)/.run-* && touch $@

$(DEV): requirements-dev.lock | $(BIN)/python
	@echo "Installing what tests, checks and benchmarks need"
	@$(PIP) -r requirements-dev.lock
	@$(MAKE) --no-print-directory paths
	@rm -f $(VENV)/.dev-* $(VENV)/.run-* && touch $@ $(RUN)

.PHONY: paths
paths: # our own package is read where it lies, compiled ahead for a quick start
	@echo "$(CURDIR)/src" > $$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/fairlead.pth
	@printf '#!%s\nfrom fairlead.cli import main\n\nmain()\n' "$(CURDIR)/$(BIN)/python" > $(BIN)/fairlead
	@chmod +x $(BIN)/fairlead
	@$(BIN)/python -m compileall -q -j 0 src $$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))') || true
