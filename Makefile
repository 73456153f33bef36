# Everything that is done to this project, by name. `make help` lists it. The work is in scripts/.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PY := .venv/bin/python
.PHONY: help setup run test check format bench ha-demo images ui lock clean

help: ## This list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/\1\t\2/' | while IFS=$$'\t' read -r name what; do printf '  make %-9s %s\n' "$$name" "$$what"; done

setup: ## .venv with all that developing needs (every other target does this by itself)
	@scripts/setup

run: ## Remuda in your browser, with this machine as its first Docker host (RUN_PORT=8080, RUN_DATA=.data)
	@scripts/run

test: ## Checks and all four rings of tests (as root; installs the Debian packages they need)
	@scripts/test

check: setup ## Lint, format, types and the doors between rooms
	@scripts/check

format: setup ## Put the code in its one form
	@$(PY) -m ruff check -q --fix src tests testbed bench; $(PY) -m ruff format -q src tests testbed bench

bench: ## All benchmarks in the bed, with the machine's load (BENCH="failover idle" for some; as root)
	@scripts/bench $(BENCH)

ha-demo: ## The installation page's walk on three nodes and two hosts in the bed, timed (as root)
	@scripts/ha-demo

images: ## remuda/server and remuda/agent
	@scripts/build-images

ui: setup ## The web UI, built into the package
	@scripts/ui-build

lock: setup ## Resolve the dependencies anew into requirements/*.txt (LOCK=--upgrade for newer versions)
	@scripts/lock $(LOCK)

clean: ## Delete what was built here, the environment and the bed's leftovers
	@scripts/clean
