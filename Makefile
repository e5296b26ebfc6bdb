# make demo: from nothing to a trained network and its pictures.  make lab: the notebooks.  make app: the widgets as a page.
# make test: what is checked before a change lands.  make test-thorough: every combination, before a release.
# make lint: imports, lines and names.  make test-browser: the widgets in a real Chromium.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

.PHONY: demo test test-thorough test-browser test-browser-quick lint lab app clean

demo: $(VENV)/.installed
	$(BIN)/accelerate launch --num_processes 1 --num_machines 1 --mixed_precision no --dynamo_backend no -m adafocus.train

# Lines of at most 120 columns, unused names, order of imports; and which chapter may import which.
lint: $(VENV)/.installed-dev
	$(BIN)/ruff check adafocus nbs tests tools
	$(BIN)/lint-imports
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python tools/format_js.py --check

test: lint
	PATH="$(CURDIR)/$(BIN):$$PATH" tests/run.sh

test-thorough: lint
	PATH="$(CURDIR)/$(BIN):$$PATH" tests/run.sh thorough
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pytest -q -s tests/browser --durations 20

# Needs a Chromium on this machine; says so where there is none. Screenshots lie in build/screenshots.
test-browser: $(VENV)/.installed-dev
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pytest -q -s tests/browser

test-browser-quick: $(VENV)/.installed-dev
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pytest -q -s -m 'not slow and not thorough' tests/browser

lab: $(VENV)/.installed-dev
	$(BIN)/jupyter lab nbs

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

# Saves the notebooks with what they show; index and the tour show the run of make demo. NOTEBOOKS=nbs/1_method/*.ipynb: some.
.PHONY: notebooks
NOTEBOOKS ?= $(shell find nbs -name '*.ipynb' -not -path '*/.ipynb_checkpoints/*' | sort)
notebooks: $(VENV)/.installed-dev
	for n in $(NOTEBOOKS); do (cd $$(dirname $$n) && PATH="$(CURDIR)/$(BIN):$$PATH" TQDM_DISABLE=1 "$(CURDIR)/$(BIN)/jupyter" nbconvert --to notebook --execute --inplace --ExecutePreprocessor.store_widget_state=False $$(basename $$n)) || exit 1; done
	$(BIN)/nbdev_clean
	$(BIN)/python tools/clear_widgets.py $(NOTEBOOKS)
	$(BIN)/python tools/fold_hidden.py $(NOTEBOOKS)
