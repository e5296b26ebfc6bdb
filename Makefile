# make demo: from nothing to a trained network and its pictures.  make test: everything that is checked, but the browser.
# make test-browser: the widgets in a real Chromium.  make lab: the notebooks.  make app: the widgets as a web page of this machine.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

.PHONY: demo test test-browser lab app clean

demo: $(VENV)/.installed
	$(BIN)/accelerate launch --num_processes 1 --num_machines 1 --mixed_precision no --dynamo_backend no -m adafocus.train

test: $(VENV)/.installed-dev
	PATH="$(CURDIR)/$(BIN):$$PATH" tests/run.sh

# Needs a Chromium on this machine; says so where there is none. Screenshots lie in build/screenshots.
test-browser: $(VENV)/.installed-dev
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pytest -q -s tests/browser

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

# Saves the notebooks with what they show. index shows the run in runs/demo: accelerate launch -m adafocus.train --out runs/demo
.PHONY: notebooks
notebooks: $(VENV)/.installed-dev
	cd nbs && PATH="$(CURDIR)/$(BIN):$$PATH" TQDM_DISABLE=1 ../$(BIN)/jupyter nbconvert --to notebook --execute --inplace --ExecutePreprocessor.store_widget_state=False *.ipynb
	$(BIN)/python tests/clear_widgets.py nbs/*.ipynb
	$(BIN)/nbdev_clean
