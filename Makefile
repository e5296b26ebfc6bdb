# make demo: from nothing to a trained network, in 6 to 10 minutes on two cores.  make lab: the notebooks.
# make app: the widgets as a page of this machine; both show the run of make demo.
# make test: what is checked before a change lands.  make test-thorough: every combination, before a release.
# make lint: imports, lines and names.  make test-browser: the widgets in a real Chromium.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

.PHONY: demo test test-thorough test-browser test-browser-quick lint lab app clean

# Trains in runs/demo and scores budgets; resumes what was interrupted, and does nothing if all of it is done.
demo: $(VENV)/.installed
	$(BIN)/python -m adafocus.show.demo

# Lines of at most 120 columns, unused names, order of imports; and which chapter may import which.
lint: $(VENV)/.installed-dev
	$(BIN)/ruff check adafocus nbs tests tools setup.py
	$(BIN)/lint-imports
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python tools/format_js.py --check

test: lint
	PATH="$(CURDIR)/$(BIN):$$PATH" tests/run.sh

test-thorough: lint
	PATH="$(CURDIR)/$(BIN):$$PATH" tests/run.sh thorough
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pytest -q -s -m 'thorough or not thorough' tests/browser --durations 20

# Needs a Chromium on this machine; says so where there is none. Screenshots lie in build/screenshots.
test-browser: $(VENV)/.installed-dev
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pytest -q -s -m 'thorough or not thorough' tests/browser

test-browser-quick: $(VENV)/.installed-dev
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pytest -q -s -m 'not slow and not thorough' tests/browser

lab: $(VENV)/.installed-dev
	$(BIN)/jupyter lab nbs/index.ipynb

app: $(VENV)/.installed-dev
	$(BIN)/python -m adafocus.show.app

# A finished installation leaves a mark; a changed settings.ini or setup.py makes it again.
$(VENV)/.installed: settings.ini setup.py
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -e .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet -e '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) build *.egg-info

# Saves the notebooks with what they show. Cells marked `eval: false` keep theirs; ARGS=--all runs them too: index and the tour
# then need the run of make demo, and the benchmarks take minutes. NOTEBOOKS='nbs/1_method/01_crop.ipynb …': some.
.PHONY: notebooks
NOTEBOOKS ?= $(shell find nbs -name '*.ipynb' -not -path '*/.ipynb_checkpoints/*' | sort)
notebooks: $(VENV)/.installed-dev
	PATH="$(CURDIR)/$(BIN):$$PATH" TQDM_DISABLE=1 $(BIN)/python tools/run_notebooks.py $(ARGS) $(NOTEBOOKS)
	$(BIN)/nbdev_clean
