"A run for the widgets that has learned nothing: its last layer is turned up, so that it is sometimes sure."
from pathlib import Path

import torch
from accelerate import Accelerator

from adafocus.data.datasets.opening import open_data
from adafocus.early_exit.budgets import evaluate_budgets
from adafocus.method.model import AdaFocus
from adafocus.run.config import save_config
from adafocus.run.folder import save_weights
from adafocus.run.presets import preset


def shown_run(folder:Path, dataset:Path, budgets=(.03, .05)): # the run's folder, its data and its configuration
    "Write a run on a needle dataset, with scored budgets."
    config = preset('needle')
    config.data.data, config.data.workers = f'needle:{dataset}', 0
    data = open_data(config.data.data)
    config.classes = data.classes
    torch.manual_seed(0)
    model = AdaFocus(config.model)
    model.classifier.weight.data *= 30
    folder.mkdir(parents=True)
    save_config(config, folder/'config.yaml')
    save_weights(model, folder/'model.safetensors')
    evaluate_budgets(folder, Accelerator(cpu=True), budgets, timed=0)
    return folder, data, config
