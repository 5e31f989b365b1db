# Needs make and Python 3.11 or newer, on Linux or on a Mac with Apple silicon, nothing else: everything is installed into
# .venv, from hashed locks.

VENV := .venv
BIN := $(VENV)/bin
# One directory for every command, ~/.murmur, unless this one says otherwise.
DATA_DIR ?=
ARGS ?=
# Of the tests, which wait for other processes most of their time: three times as many as a small machine has cores.
PROCESSES ?= 6
PLUGINS := -p anyio -p hypothesispytest -p randomly -p timeout -p xdist
FUZZ_INPUTS ?= 10000
FUZZ_SEED ?= 1
# The first interpreter that starts and is new enough; `make PYTHON=/path/to/python` chooses another.
PYTHON ?= $(shell for python in python3.13 python3.12 python3.11 python3 python; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && { echo $$python; break; }; done)

.DEFAULT_GOAL := help
.PHONY: help demo run test mutants mutants-domain test-compose test-operations fuzz recordings audit check format docs lock clean mac-up mac-worker chaos bench soak test-mlx secrets clients release pin manifests

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/.local ## Transcribe a sample through the whole platform, then stop it
	@$(BIN)/murmur demo $(if $(DATA_DIR),--data-dir $(DATA_DIR)) $(ARGS)

run: $(VENV)/.local ## Run the platform on 127.0.0.1:8000 until Ctrl-C (ARGS="--port 9000 --workers 2 --model small")
	@$(BIN)/murmur up $(if $(DATA_DIR),--data-dir $(DATA_DIR)) $(ARGS)

# Bytecode is kept even where the environment says not to: else every process compiles each file that it imports anew.
test: export PYTHONDONTWRITEBYTECODE :=
# Of every plugin that is found by itself pytest rewrites the assertions of its whole package: in each process of tests
# seconds for the 350 files of Hypothesis and Schemathesis.
test: export PYTEST_DISABLE_PLUGIN_AUTOLOAD := 1
# A process of tests that dies is the end, with the test's name: xdist's replacement may wait for ever for its last test.
test: $(VENV)/.dev ## Run the tests (ARGS="tests/unit -k formats", PROCESSES=2)
	@$(BIN)/python -m tests.compiled
	@$(BIN)/python -m pytest $(PLUGINS) -n $(PROCESSES) --dist loadfile --no-loadscope-reorder --max-worker-restart 0 $(ARGS)

clients: $(VENV)/.clients ## Install linters, generators and published clients, which tests/clients drives (npm; a minute)

mutants: $(VENV)/.dev ## Put known faults in, one at a time, and see that the tests notice (ARGS="--area lua"; long)
	@$(BIN)/python -m tests.mutants.run $(ARGS)

mutants-domain: $(VENV)/.dev ## Let mutmut change the pure domain, and print the share that its tests notice (long)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check mutmut
	@$(BIN)/python -m tests.mutants.domain $(ARGS)

test-compose: $(VENV)/.dev ## Build the images, bring up the compose stack and break it (needs Docker, minutes)
	@TEST_COMPOSE=1 $(BIN)/python -m pytest tests/compose $(ARGS)

test-operations: $(VENV)/.dev ## Upgrade, scale, kill and fill the compose stack under load, and print the table (needs Docker; OPERATIONS_RUNS=5: an hour)
	@TEST_COMPOSE=1 $(BIN)/python -m pytest tests/compose/test_operations.py tests/compose/test_full_disks.py -n 0 -p no:randomly -s -q $(ARGS)

# $(call dotenv,NAME,DEFAULT): a variable of the shell's, else of Compose's file.
dotenv = $${$(1):-$$(sed -n 's/^$(1)=//p' .env | grep . || echo $(2))}

# With the passwords in files (deploy/secret-files.sh) in place of .env's.
MAC_FILES = $(if $(wildcard secrets/redis_password),-f docker-compose.yml -f docker-compose.secrets.yml -f deploy/macos/compose.yml,-f docker-compose.macos.yml)

mac-up: .env ## Bring up everything but the worker in Docker (macOS)
	@docker compose $(MAC_FILES) up -d --build

# The ledger's password as the stack has it: from its file, else from .env; on no command line, which `ps` would show.
mac-worker: $(VENV)/.mlx .env ## Set up and start the native worker on Metal beside it (macOS; ARGS="--model small")
	@if test -s secrets/redis_password; then export MURMUR_LEDGER__PASSWORD_FILE=secrets/redis_password; \
		elif test -z "$(call dotenv,MURMUR_LEDGER__PASSWORD_FILE,)"; then \
		export MURMUR_LEDGER__PASSWORD="$(call dotenv,MURMUR_REDIS_PASSWORD,)"; fi; \
		exec $(BIN)/murmur worker --env-file .env --engine mlx --ledger "redis://127.0.0.1:$(call dotenv,MURMUR_LEDGER_PORT,6379)/0" \
		--audio "http://127.0.0.1:$(call dotenv,MURMUR_HTTP_PORT,80)" $(ARGS)

# The API and a worker without its disk must know one secret, and Prometheus where the worker's metrics are.
.env: FORCE
	@grep -qsE '^MURMUR_BLOBS__SECRET(_FILE)?=.' $@ || (umask 077; test -z "$$(tail -c 1 $@ 2>/dev/null)" || echo >> $@; \
		echo "MURMUR_BLOBS__SECRET=$$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')" >> $@; echo "A new secret is in $@")
	@grep -qs '^MURMUR_WORKER__METRICS_ADDRESS=' $@ || \
		printf '%s\n' MURMUR_WORKER__METRICS_PORT=9464 MURMUR_WORKER__METRICS_ADDRESS=auto >> $@

FORCE:

manifests: $(VENV)/.dev ## Render deploy/kubernetes from the chart in deploy/helm, with Helm's own engine
	@$(BIN)/python deploy/helm/render.py $(ARGS)

release: $(VENV)/.release ## Make what a version is published with, in dist/: wheel, sdist, images' tags, SBOMs, notes (IMAGES=1 builds them)
	@$(BIN)/python deploy/release.py --python $(VENV)/release/bin/python $(if $(IMAGES),--images) $(ARGS)

secrets: ## Write random passwords for Redis, Flower and operators into .env, where there are none
	@for name in MURMUR_REDIS_PASSWORD MURMUR_FLOWER_PASSWORD MURMUR_OPERATOR_PASSWORD; do \
		grep -qs "^$$name=." .env || (umask 077; test -z "$$(tail -c 1 .env 2>/dev/null)" || echo >> .env; \
		echo "$$name=$$(od -An -N24 -tx1 /dev/urandom | tr -d ' \n')" >> .env; echo "A new $$name is in .env"); done

pin: ## Name the images of others by their digests in Compose's, Kubernetes' and Docker's files (asks their registries)
	@deploy/pin.sh

test-mlx: $(VENV)/.dev ## Ask everything of the MLX engine too (minutes where there is no Metal)
	@TEST_MLX_WHOLE=1 $(BIN)/python -m pytest tests/contract/test_engines.py -k mlx $(ARGS)

recordings: $(VENV)/.dev ## Compare the words of every kind of recording in every container with the plain one's
	@TEST_RECORDINGS_WHOLE=1 $(BIN)/python -m pytest -q tests/recordings $(ARGS)

chaos: $(VENV)/.dev ## Break real processes for minutes, with real lease times (CHAOS_SEED=n repeats a plan)
	@CHAOS_LONG=1 $(BIN)/python -m pytest -s tests/chaos -n 0 $(ARGS)

bench: $(VENV)/.dev ## Measure speed and word errors beside faster-whisper, in under ten minutes
	@$(BIN)/python -m bench.speech.run --size base --clips 16 --rounds 5 $(ARGS)

soak: $(VENV)/.dev ## Run the platform for half an hour at 70 % of what it keeps up: nothing may grow, no job be lost (ARGS="--minutes 5")
	@$(BIN)/python -m bench.load.soak $(ARGS)

fuzz: $(VENV)/.dev ## Damage 10,000 inputs and look for crashes (FUZZ_INPUTS=…, FUZZ_SEED=…)
	@FUZZ_INPUTS=$(FUZZ_INPUTS) FUZZ_SEED=$(FUZZ_SEED) $(BIN)/python -m pytest -q tests/fuzz $(ARGS)

audit: $(VENV)/.dev ## Look up the locked packages in the database of known holes
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check pip-audit
	@for lock in api worker flower; do echo "requirements/$$lock.txt"; \
		$(BIN)/python -m pip_audit --disable-pip --require-hashes -r requirements/$$lock.txt || exit 1; done

check: $(VENV)/.dev ## Lint, check types, the layers between packages and the Lua scripts
	@$(BIN)/ruff check .
	@$(BIN)/mypy transcription api worker murmur demo tests bench
	@$(BIN)/lint-imports
	@$(BIN)/python -m tests.lint
	@if command -v luacheck >/dev/null; then luacheck --quiet transcription/ledger/lua; \
		else echo "luacheck isn't installed (Debian: lua-check): the ledger's scripts were not checked"; fi

format: $(VENV)/.dev ## Format the code and mend what the linter can
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

docs: $(VENV)/.dev ## Write the tables of settings in README.md and docs/, and .env.example
	@$(BIN)/python -m murmur.cli.settings_table

lock: $(VENV)/.dev ## Write the hashed locks in requirements/ anew from pyproject.toml
	@$(BIN)/python -m pip install --quiet uv
	@PATH="$(CURDIR)/$(BIN):$$PATH" requirements/lock.sh

clean: ## Delete the environment and the caches; recordings and transcripts in ~/.murmur stay
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The project runs in place: a path file puts the checkout on the environment's import path, and `murmur` beside it.
$(VENV)/bin/murmur:
	@test -n "$(PYTHON)" || { echo "make: Murmuration needs Python 3.11 or newer; none was found on PATH" \
		"(make PYTHON=/path/to/python3)" >&2; exit 1; }
	@echo "Making $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV) || { echo "make: $(PYTHON) can't make virtual environments;" \
		"on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	@echo "$(CURDIR)" > "$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/murmuration.pth"
	@printf '#!/bin/sh\nexec "%s/python" -m murmur "$$@"\n' "$(CURDIR)/$(BIN)" > $@
	@chmod +x $@

$(VENV)/.clients: tests/clients/package-lock.json tests/clients/python.txt | $(VENV)/bin/murmur
	@echo "Installing published clients into tests/clients and $(VENV)/clients (once, a minute or two)"
	@cd tests/clients && npm ci --silent
	@$(BIN)/python -m venv $(VENV)/clients
	@$(VENV)/clients/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps \
		-r tests/clients/python.txt
	@touch $@

$(VENV)/.release: requirements/release.txt | $(VENV)/bin/murmur
	@$(BIN)/python -m venv $(VENV)/release
	@$(VENV)/release/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r $<
	@touch $@

$(VENV)/.local $(VENV)/.mlx $(VENV)/.dev: $(VENV)/.%: requirements/%.txt | $(VENV)/bin/murmur
	@echo "Installing $< into $(VENV) (once, a minute or two)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r $<
	@touch $@
