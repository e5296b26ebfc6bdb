"Runs that have learned nothing, but predict: their last layer is turned up, so that they are sometimes sure."
from dataclasses import replace
from pathlib import Path

import torch

from adafocus.data import needle
from adafocus.method.model import AdaFocus, ModelConfig
from adafocus.run.config import Config, save_config
from adafocus.run.folder import save_weights
from adafocus.run.presets import preset

SMALL_MODEL = ModelConfig(num_classes=len(needle.GLYPHS), num_frames=4, frame_size=64, patch_size=32, global_size=28, global_encoder='small_global',
                          local_encoder='small_local', policy_channels=16, policy_hidden=32, classifier_hidden=64)


def untrained_run(folder:Path, data=None, small:bool=False, loud:float=12., **changes)->tuple[Path,AdaFocus,Config]: # changes of its model
    "A run folder with drawn weights, the model in evaluation mode, and its configuration."
    config = preset('needle')
    config.model = replace(SMALL_MODEL if small else config.model, **changes)
    if small: config.data.resize = 64
    config.classes, config.data.workers, config.data.data = list(needle.GLYPHS), 0, f'needle:{data}' if data else None
    if config.model.temporal_shift: config.data.reorder = False
    torch.manual_seed(0)
    model = AdaFocus(config.model)
    for part in model.modules():
        if isinstance(part, (torch.nn.BatchNorm1d, torch.nn.BatchNorm2d)):
            torch.nn.init.uniform_(part.weight, .5, 1.5)
            torch.nn.init.normal_(part.bias, 0, .2)
    if hasattr(model.classifier, 'weight'): model.classifier.weight.data *= loud
    folder.mkdir(parents=True)
    save_config(config, folder/'config.yaml')
    save_weights(model, folder/'model.safetensors')
    return folder, model.eval(), config
