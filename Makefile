# make demo: from nothing to a trained network and its pictures.  make test: everything that is checked.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

.PHONY: demo test lab clean

demo: $(VENV)/.installed
	$(BIN)/accelerate launch --num_processes 1 --num_machines 1 --mixed_precision no --dynamo_backend no -m adafocus.train

test: $(VENV)/.installed-dev
	PATH="$(CURDIR)/$(BIN):$$PATH" tests/run.sh

lab: $(VENV)/.installed-dev
	$(BIN)/jupyter lab nbs

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
	$(BIN)/nbdev_clean
