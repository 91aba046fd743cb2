# posttrail: `make run` shows it, `make test` proves it. `make help` lists the rest.
.DEFAULT_GOAL := help
.PHONY: help setup sendmail exim trace doctor page venv run test check lint format compiled screenshots bench truth soak score messages completion install deb clean_debian lock clean

VENV := .venv
BIN := $(VENV)/bin
COMPILED := build/compiled
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet install
LOCKED := --require-hashes --no-deps
# Asked when used. Empty for root, "sudo" where that works, else empty too: the programs say what they cannot do.
SUDO = $(shell tools/setup --sudo)

help:  ## what can be made
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 13

setup:  ## name and install the Debian packages that are missing (root or sudo)
	@tools/setup run

venv: setup $(VENV)/.dev  ## the environment .venv with all tools, from the locked requirements

# Nothing here fetches what is not locked: the compiled packages build without isolation.
$(VENV)/.build: requirements/build.txt
	/usr/bin/python3 -m venv $(VENV)
	$(PIP) $(LOCKED) -r requirements/build.txt
	@touch $@

$(VENV)/.runtime: $(VENV)/.build requirements/runtime.txt requirements/milter.txt pyproject.toml
	$(PIP) $(LOCKED) --only-binary :all: -r requirements/runtime.txt
	@if tools/setup --can-compile; then \
	  echo 'compiling pymilter'; $(PIP) $(LOCKED) --no-build-isolation -r requirements/milter.txt; \
	else \
	  echo 'pymilter left out: no libmilter headers or no compiler; the milter will not run here' >&2; \
	fi
	$(PIP) --no-deps --no-build-isolation --editable .
	@if tools/setup --can-compile; then touch $@; fi

$(VENV)/.dev: $(VENV)/.runtime requirements/dev.txt
	$(PIP) $(LOCKED) --only-binary :all: -r requirements/dev.txt
	@touch $@

run: setup $(VENV)/.runtime  ## a private Postfix, our programs and mails of every fate (ONCE=1: one report, then end)
	@$(SUDO) $(BIN)/posttrail demo $(if $(ONCE),--once)

sendmail: setup
	@tools/setup sendmail dovecot dns
	@tools/setup --sendmail .sendmail

exim: setup
	@tools/setup exim dns
	@tools/setup --exim .exim

trace: setup
	@tools/setup trace

doctor: setup
	@tools/setup doctor

page: setup
	@tools/setup page

metrics: setup
	@tools/setup metrics

screenshots: page $(VENV)/.dev  ## pictures of every page in every look, below build/screenshots (root or sudo)
	$(SUDO) $(BIN)/python -m tests.browser.screenshots build/screenshots

test: setup sendmail exim trace doctor page metrics $(VENV)/.dev lint  ## everything that must hold: lint, types, unit and integration tests
	$(SUDO) $(BIN)/python tools/test
	$(BIN)/python -m coverage report --include='journal/fold.py,journal/status.py' --fail-under=100

check: $(VENV)/.dev lint  ## before every commit: lint, types, tests without servers
	$(BIN)/python -m pytest -q -m 'not soak and not integration'

lint: $(VENV)/.dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: $(VENV)/.dev  ## let ruff write the layout
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

# The hot modules as C (setup.py). Tests use the plain source; what is measured and shipped is this.
$(COMPILED)/.done: $(VENV)/.dev setup.py pyproject.toml $(wildcard journal/*.py milterd/*.py milterd/lines/*.py milterd/track/*.py posttrail/*.py query/*.py)
	rm -rf build
	POSTTRAIL_COMPILE=1 $(BIN)/python -m pip --quiet wheel --no-deps --no-build-isolation --wheel-dir build/wheel .
	$(PIP) --no-deps --target $(COMPILED) build/wheel/*.whl
	@touch $@

compiled: $(COMPILED)/.done  ## the programs with their hot modules compiled, below build/compiled

bench: $(COMPILED)/.done  ## the figures of the design against their rivals (BENCH="--quick --only import")
	@tools/setup run bench
	$(SUDO) env PYTHONSAFEPATH=1 PYTHONPATH=$(CURDIR)/$(COMPILED):$(CURDIR) \
	  $(BIN)/python -m tests.bench --json bench.json $(BENCH)

truth: $(COMPILED)/.done  ## 100k messages: our rows, the truth, pflogsumm's and logwatch's (TRUTH="--messages 20000")
	@tools/setup bench
	env PYTHONSAFEPATH=1 PYTHONPATH=$(CURDIR)/$(COMPILED):$(CURDIR) $(BIN)/python -m tests.bench.truth $(TRUTH)

soak: setup $(COMPILED)/.done  ## the long form of the tests that have one, and the unit tests on compiled modules
	@tools/setup run soak
	$(SUDO) $(BIN)/python -m pytest -q -m soak
	env PYTHONSAFEPATH=1 PYTHONPATH=$(CURDIR)/$(COMPILED):$(CURDIR) \
	  $(BIN)/python -m pytest -q tests/unit/journal tests/unit/milterd

score: $(VENV)/.dev  ## how we read the logs of others, statement by statement (needs POSTTRAIL_CORPORA; SCORE="--wrong youyo")
	$(BIN)/python -m tests.score --write docs/score.md $(SCORE)

messages: $(VENV)/.dev  ## collect the sentences of the page, merge and compile their translations
	$(BIN)/python tools/messages

completion:  ## write deploy/completion anew
	$(BIN)/python tools/completion

install: setup $(COMPILED)/.done  ## into an environment of its own below PREFIX (DESTDIR= PREFIX=/usr/local)
	@DESTDIR=$(DESTDIR) PREFIX=$(PREFIX) tools/install $(BIN)/pip build/wheel/*.whl

deb: setup $(COMPILED)/.done  ## dist/posttrail_*.deb for the Debian that this is
	@tools/deb $(BIN)/pip build/wheel/*.whl

clean_debian: deb
	@tools/setup deb
	$(SUDO) tests/deb/run

lock:  ## write requirements/*.txt anew from *.in (needs pip-compile on PATH)
	cd requirements && for name in build milter runtime dev; do \
	  pip-compile --quiet --upgrade --generate-hashes --allow-unsafe --strip-extras --no-header \
	    --no-annotate --no-emit-options \
	    --output-file $$name.txt $$name.in || exit 1; done

clean:  ## what make and the tests left behind
	rm -rf $(VENV) build .sendmail .exim dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage .coverage.*
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
