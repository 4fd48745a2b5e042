"""The state of a sparse network is that of the dense one, and copies and averages of it are what they should be."""

from copy import deepcopy
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from prunus import sparsify
from prunus.mask import Mask

from .networks import NETWORKS, made
from .test_sparsify import chosen, masked, near


@pytest.mark.parametrize("name", NETWORKS)
def test_state_is_that_of_the_masked_network(tmp_path: Path, name: str) -> None:
    model, inputs = made(name, 16)
    mask = chosen(model)
    dense = masked(model, mask)
    sparsify(model, mask)
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    saved = torch.load(tmp_path / "weights.pt")
    assert list(saved) == list(dense.state_dict())
    assert all(torch.equal(saved[key], value) for key, value in dense.state_dict().items())
    other = deepcopy(model)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.fill_(7.0)
    other.load_state_dict(saved)
    assert torch.equal(other.eval()(inputs), model.eval()(inputs))


def test_weights_that_would_be_lost_are_refused() -> None:
    """Another mask with as many entries would otherwise get the weights of this one at the wrong places."""
    model = nn.Sequential(nn.Linear(4, 4))
    eye = torch.eye(4).bool()
    first, second = deepcopy(model), deepcopy(model)
    sparsify(first, Mask({"0.weight": eye}))
    sparsify(second, Mask({"0.weight": eye.flip(0)}))
    before = second[0].values.detach().clone()
    with pytest.raises(RuntimeError, match=r"0\.weight: 4 weights are not zero where this layer has none"):
        second.load_state_dict(first.state_dict())
    with pytest.raises(RuntimeError, match=r"0\.weight: found \(4, 3\), expected \(4, 4\)"):
        second.load_state_dict(nn.Sequential(nn.Linear(3, 4)).state_dict())
    with pytest.raises(RuntimeError, match=r"Missing key\(s\) in state_dict: \"0.values\""):
        second.load_state_dict({"0.bias": torch.zeros(4)})
    assert torch.equal(second[0].values, before)


def test_averages_are_those_of_the_masked_network() -> None:
    model, inputs = made("residual", 16)
    mask = chosen(model)
    dense = masked(model, mask)
    sparsify(model, mask)
    averages = []
    for network in (model, dense):
        average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(0.75))
        for number in range(3):
            with torch.no_grad():
                for parameter in network.parameters():
                    parameter.mul_(0.5).add_(0.1 * number)
            if network is dense:
                mask.apply_to(dense)
            average.update_parameters(network)
        averages.append(average.eval())
    assert list(averages[0].state_dict()) == list(averages[1].state_dict())
    assert near(averages[0](inputs), averages[1](inputs))
