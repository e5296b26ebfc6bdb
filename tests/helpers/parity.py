"""The numbers in `reference/`, weights and inputs by the formula they were made with, and how far this package is from them.

`python tests/helpers/parity.py` prints the comparison; `tests/method/test_parity.py` asserts it."""
import json
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch.utils.checkpoint import checkpoint_sequential

from adafocus.method.crop import crop_patches
from adafocus.method.losses import adafocus_loss
from adafocus.method.model import AdaFocus
from adafocus.method.official import load_official, released_names
from adafocus.system.processes import usable_cores

FOLDER = Path(__file__).parents[1]/'reference'
LAYOUTS = dict(mn2rn='mn2_rn50', rn='rn50_rn50', tsm='tsm')             # our names of the architectures, and those in `reference/`


def stored(file='outputs'): return load_file(FOLDER/f'{file}.safetensors')


def facts(): return json.loads((FOLDER/'facts.json').read_text())


def shapes(arch): return json.loads((FOLDER/'checkpoint_keys.json').read_text())[LAYOUTS[arch]]


def gradient_norms(case): return json.loads((FOLDER/'gradient_norms.json').read_text())[f'{case}_gradnorm']


def stream(name): return np.random.RandomState(zlib.crc32(name.encode()))


def normal(name, shape): return torch.as_tensor(stream(name).standard_normal(tuple(shape)))


def weight(name, shape):
    "A tensor of a checkpoint, by its name and shape alone."
    z = normal(name, shape)
    if name.endswith('num_batches_tracked'): return torch.zeros(tuple(shape), dtype=torch.long)
    if name.endswith('running_mean'): return .1*z
    if name.endswith('running_var'): return 1 + .1*z.abs()
    if len(shape) >= 2: return z*np.sqrt((2 if len(shape) == 4 else 1)/np.prod(shape[1:]))
    return .6 + .05*z if name.endswith('weight') else .1*z


def checkpoint(arch):
    "A released checkpoint's state dict, filled by the formula, in float64."
    return {name: weight(name, shape) for name, shape in shapes(arch).items()}


def videos(name, batch, frames): return normal(name, (batch, 3*frames, 224, 224)).view(batch, frames, 3, 224, 224)


def apart(ours, theirs):
    "The largest difference, relative to the largest stored number."
    theirs = theirs.reshape(ours.shape)
    return float((ours.detach() - theirs).abs().max()/theirs.abs().max().clamp(min=1e-300))


def crop_case():
    numbers, frames = stored(), normal('crop/frames', (6, 3, 224, 224))
    positions = numbers['crop/actions'].flip(1).clone().requires_grad_()
    patches = crop_patches(frames, positions, 128)
    (patches*normal('crop/upstream', patches.shape)).sum().backward()
    return {'patch sums': apart(patches.sum((1, 2, 3)), numbers['crop/patch_sums']), 'patch corner': apart(patches[:, :, :4, :4], numbers['crop/patch_corner']),
            'patch centre': apart(patches[:, :, 62:66, 62:66], numbers['crop/patch_center']), 'gradient of positions': apart(positions.grad.flip(1), numbers['crop/grad_actions'])}


def evaluation_case(arch):
    case = dict(mn2rn='mn2_rn50_p128', rn='rn50_rn50_p96', tsm='tsm_p128')[arch]
    numbers, model = stored(), load_official(checkpoint(arch), patch_size=int(case[case.index('_p') + 2:]))
    with torch.no_grad():
        if arch == 'tsm': out = model(videos(f'{case}/glance', 2, 8), videos(f'{case}/focus', 2, 12))
        else: out = model(videos(f'{case}/frames', 2, 16))
    if arch == 'tsm':
        named = dict(actions=out.positions[:, 0].flip(-1), logits=out.logits, global_aux=out.global_logits, local_aux=out.local_logits)
    else: named = dict(actions=out.positions.flip(-1), cat_logits=out.logits, global_logits=out.global_logits, local_logits=out.local_logits)
    return {name: apart(x, numbers[f'{case}/{name}']) for name, x in named.items()}


def in_segments(body):
    "The same body, which in training keeps what it computed at few places and computes the rest again: 8 GB instead of 20."
    for m in body.modules():
        if hasattr(m, 'inplace'): m.inplace = False                      # what is kept must stay as it was
    return lambda x: checkpoint_sequential(body, min(8, len(body)), x, use_reentrant=False)


def training_case(arch):
    "How far loss, terms and stored gradients are, and for every parameter its name, gradient norm here, and there (None: no gradient)."
    case, tsm = dict(mn2rn='mn2_rn50_p128_train', tsm='tsm_p128_train')[arch], arch == 'tsm'
    state = checkpoint(arch)
    config = load_official(state, patch_size=128).config
    model = AdaFocus(replace(config, dropout=0.)).double()
    model.load_state_dict(load_official(state).state_dict())
    for encoder in (model.global_encoder, model.local_encoder): encoder.body.forward = in_segments(encoder.body)
    numbers, model, batch = stored(), model.train(), 4
    labels = torch.as_tensor(stream(f'{case}/labels').randint(0, config.num_classes, size=batch))
    random = torch.as_tensor(stream(f'{case}/random_actions').uniform(size=(batch if tsm else batch*16, 2))).view(batch, -1, 2).flip(-1)
    if tsm: outputs = model(videos(f'{case}/glance', batch, 8), videos(f'{case}/focus', batch, 12), random_positions=random)
    else: outputs = model(videos(f'{case}/frames', batch, 16), random_positions=random)
    loss, terms = adafocus_loss(outputs, labels)
    loss.backward()
    terms = torch.stack(list(terms.values())).view(2, 3)
    far = {'loss': apart(loss[None], numbers[f'{case}/loss']),
           'terms': apart(terms.flip(0), numbers[f'{case}/terms_random_then_policy']) if tsm else apart(terms, numbers[f'{case}/terms'])}
    own, theirs, norms = dict(model.named_parameters()), gradient_norms(case), []
    for name, p in own.items():
        released = released_names(name, model.config)
        for n, g in zip(released, p.grad.unbind() if name in ('classifier.weight', 'classifier.bias') else [p.grad]):
            norms.append((n, None if g is None else float(g.norm()), theirs.pop(n)))
            if (key := f'{case}/grad:{n}') in numbers: far[f'gradient of {n}'] = apart(g.flip(0) if name.startswith('policy.head') else g, numbers[key])
    return far, norms, theirs                                            # the last: parameters of theirs that have none here


def comparison():
    "All cases, as lines to print."
    lines = [f'{"case":20}{"what":58}largest relative difference']
    cases = [('crop', crop_case())] + [(f'{arch}, evaluation', evaluation_case(arch)) for arch in LAYOUTS]
    for arch in ('mn2rn', 'tsm'):
        far, norms, _ = training_case(arch)
        far[f'gradient norms of {len(norms)} parameters'] = max(abs(a - b)/(b + 1e-6) for _, a, b in norms)
        cases.append((f'{arch}, training', far))
    return '\n'.join(lines + [f'{case:20}{what:58}{x:27.1e}' for case, far in cases for what, x in far.items()])


if __name__ == '__main__':
    torch.set_num_threads(usable_cores())
    print(comparison())
