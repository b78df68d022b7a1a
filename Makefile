# Second Look. `make demo` and `make up` install what is missing into .venv first.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# The page's scripts are plain modules and need no build. Node lints and tests them, and is the
# identity provider that the sign-in is tested against; without it both are skipped.
NODE_STAMP := node_modules/.installed
NODE := $(shell node -e 'process.exit(parseInt(process.versions.node) < 20 ? 1 : 0)' 2>/dev/null && command -v npm)

.PHONY: demo up down test check check-js format bench clean

demo: $(STAMP)
	$(BIN)/secondlook demo

up: $(STAMP)
	$(BIN)/secondlook up

down: $(STAMP)
	$(BIN)/secondlook down

# Two processes, but for the tests that start Ray: each of these keeps two cores busy by itself.
test: $(STAMP) $(if $(NODE),$(NODE_STAMP))
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not cluster"
	$(BIN)/python -m pytest -m cluster

check: $(STAMP) check-js
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

ifeq ($(NODE),)
check-js:
	@echo "skipped: the page's scripts are linted with Node 20 or later, which is not here"
else
check-js: $(NODE_STAMP)
	npx --no-install eslint ui/static tests/js
endif

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(STAMP)
	$(BIN)/python -m bench

$(STAMP): pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { \
	  echo "Second Look needs Python 3.11: install it, or say where it is: make PYTHON=/path/to/python3.11"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

$(NODE_STAMP): package.json package-lock.json
	npm ci --no-audit --no-fund --loglevel=error
	touch $@

clean:
	rm -rf $(VENV) node_modules .mypy_cache .ruff_cache .pytest_cache
