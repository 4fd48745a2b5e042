import pytest
import torch
from torch import Tensor, nn

from prunus.batchnorm import recalibrate
from prunus.errors import PrunusError


def batches(*sizes: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(size, 3, 4, 4, generator=generator) * 2 + 1 for size in sizes]


@pytest.mark.parametrize("momentum", [0.1, None])
def test_statistics_are_plain_averages_over_the_batches(momentum: float | None) -> None:
    model = nn.Sequential(nn.BatchNorm2d(3, momentum=momentum), nn.ReLU())
    model(batches(9)[0])  # something to be forgotten
    inputs = batches(5, 7, 2)
    assert recalibrate(model, iter(inputs)) == 3
    channels = [batch.transpose(0, 1).flatten(1) for batch in inputs]
    mean = torch.stack([channel.mean(1) for channel in channels]).mean(0)
    variance = torch.stack([channel.var(1) for channel in channels]).mean(0)
    torch.testing.assert_close(model[0].running_mean, mean)
    torch.testing.assert_close(model[0].running_var, variance)


def test_one_batch_makes_the_next_layer_see_zero_mean_and_unit_variance() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    (inputs,) = batches(50)
    recalibrate(model, [inputs])
    outputs = model.eval()(inputs).transpose(0, 1).flatten(1)  # (4, ...)
    torch.testing.assert_close(outputs.mean(1), torch.zeros(4), rtol=0, atol=1e-5)
    torch.testing.assert_close(outputs.var(1), torch.ones(4), rtol=1e-3, atol=0)


def test_nothing_else_is_touched() -> None:
    model = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3, momentum=0.3), nn.Dropout(0.5), nn.BatchNorm2d(3))
    model[3].eval()  # frozen by its owner
    modes = [module.training for module in model.modules()]
    weights = {name: value.clone() for name, value in model.named_parameters()}
    torch.manual_seed(1)
    state = torch.get_rng_state()
    recalibrate(model, batches(4, 4))
    assert [module.training for module in model.modules()] == modes
    assert model[1].momentum == 0.3
    assert all(torch.equal(value, weights[name]) for name, value in model.named_parameters())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.equal(torch.get_rng_state(), state)  # dropout was off
    assert not torch.equal(model[3].running_mean, torch.zeros(3))  # it is recalibrated all the same


def test_model_without_running_statistics_uses_no_batch() -> None:
    model = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3, track_running_stats=False))
    given = iter(batches(4))
    assert recalibrate(model, given) == 0
    assert next(given).shape == (4, 3, 4, 4)


def test_no_batch_is_an_error_and_changes_nothing() -> None:
    model = nn.Sequential(nn.BatchNorm2d(3))
    model(batches(9)[0])
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(PrunusError, match="without a batch"):
        recalibrate(model, [])
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert model[0].momentum == 0.1
