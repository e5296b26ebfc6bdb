"Costs, by hand from the layers' sizes."
import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from adafocus.method.costs import count, parts_table, rnn_step
from adafocus.method.model import ModelConfig


@pytest.fixture(scope='module')
def costs(): return count(ModelConfig())


def test_the_main_model(costs):
    assert costs.steps == 16 and [c.part for c in costs.parts] == ['f_G', 'policy', 'GRU', 'crop', 'f_L', 'f_C', 'head']
    each = {c.part: c.each for c in costs.parts}
    assert each['policy'] == 1280*64*49 + 64*49*2048 + 2048*2
    assert each['f_C'] == (1280 + 2048)*4096 and each['head'] == 4096*200
    assert costs.total() == pytest.approx((16*sum(x for part, x in each.items() if part != 'head') + each['head'])/1e9, rel=1e-12)
    assert costs.total(without=('GRU', 'crop')) == pytest.approx(costs.total() - 16*(each['GRU'] + each['crop'])/1e9, rel=1e-12)


def test_steps(costs):
    each, spent = {c.part: c.each for c in costs.parts}, costs.per_step()
    assert costs.per_step(asked=False)[-1] == pytest.approx(costs.total()) and spent[0] == pytest.approx(sum(each.values())/1e9)
    assert spent[-1] - costs.total() == pytest.approx(15*each['head']/1e9)


@pytest.mark.parametrize('kind, gates', [(nn.GRU, 3), (nn.LSTM, 4), (nn.RNN, 1)])
def test_recurrent_layers_by_formula(kind, gates): assert rnn_step(kind(5, 7)) == gates*7*(5 + 7)


def test_the_counter_sees_into_a_gru_on_a_cpu():
    layer = nn.GRU(5, 7, batch_first=True)
    with FlopCounterMode(display=False) as counter, torch.no_grad(): layer(torch.zeros(1, 16, 5))
    assert counter.get_total_flops()//2 == 16*rnn_step(layer)


def test_a_table_has_a_row_for_each_part(costs):
    lines = parts_table(costs).splitlines()
    assert len(lines) == 1 + 7 + 2 and lines[1].split()[0] == 'f_G' and 'without the GRU' in lines[-2]
