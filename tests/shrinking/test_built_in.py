"""Every built-in network, half of its channels pruned."""

import pytest
import torch

from prunus.mask import Mask
from prunus.models.description import BUILT_IN, Description
from prunus.shrinking import shrink, shrink_to_fit

from .networks import channel_mask, check_same, count

pytestmark = pytest.mark.usefixtures("one_thread")


def network(name):
    torch.manual_seed(0)
    height = 16 if name.startswith(("vgg", "conv-8")) else 8
    description = Description(name, (1 if "lenet" in name or name == "fc-500" else 3, height, height), 10)
    model = description.make()
    if "resnet" in name or "vgg" in name:  # weights as they are, statistics as after training
        for tensor_name, tensor in model.state_dict().items():
            if tensor_name.rpartition(".")[2] in ("running_mean", "running_var", "bias"):
                tensor.uniform_(0.2, 1) if "var" in tensor_name else tensor.normal_(std=0.2)
    return model, (2, *description.input_shape)


@pytest.mark.parametrize("name", BUILT_IN)
def test_half_of_the_channels(name):
    model, shape = network(name)
    mask = channel_mask(model, 0.5)
    small = shrink(model, mask, example=torch.randn(shape))
    check_same(model, mask, small, shape)
    assert type(small) is type(model)
    assert list(small.state_dict()) == list(model.state_dict())
    assert count(small) < 0.8 * count(model)
    again = shrink_to_fit(model, small.state_dict())
    check_same(model, mask, again, shape)


def test_counts_of_a_perceptron():
    model, shape = network("lenet-300-100")
    mask = channel_mask(model, 0.5)
    first, second = (int(mask[f"fc{layer}.weight"][:, 0].sum()) for layer in (1, 2))
    small = shrink(model, mask, example=torch.randn(shape))
    assert count(small) == (64 + 1) * first + (first + 1) * second + (second + 1) * 10


def test_counts_of_lenet_5():
    model, shape = network("lenet-5")
    with torch.no_grad():
        model.conv1.bias.fill_(-1)  # pruned filters give 0 behind ReLU, which padding does not disturb
    mask = channel_mask(model, 0.5)
    first, second, third = (int(mask[f"{name}.weight"].flatten(1)[:, 0].sum()) for name in ("conv1", "conv2", "fc1"))
    small = shrink(model, mask, example=torch.randn(shape))
    places = model.fc1.in_features // 50
    sizes = (first, 25 + 1), (second, 25 * first + 1), (third, places * second + 1), (10, third + 1)
    assert count(small) == sum(outputs * inputs for outputs, inputs in sizes)


def test_inside_the_blocks_of_a_resnet_exactly_what_is_zero_behind_relu_goes():
    model, shape = network("resnet-20")
    names = [name for name, _ in model.named_parameters() if name.endswith("conv1.weight") and name != "conv1.weight"]
    mask = channel_mask(model, 0.5, names=names)
    small = shrink(model, mask, example=torch.randn(shape))
    for name in names:
        block = model.get_submodule(name.removesuffix(".conv1.weight"))
        zero_weights = ~mask[name].flatten(1).any(1)
        behind = block.bn1.bias - block.bn1.weight * block.bn1.running_mean / (block.bn1.running_var + 1e-5).sqrt()
        kept = int((~(zero_weights & (behind <= 0))).sum())
        assert small.get_parameter(name).shape[0] == kept < len(mask[name])
        assert small.get_parameter(name.replace("conv1", "conv2")).shape[1] == kept


def test_trunk_channels_dead_in_all_stages_of_a_resnet_go_and_those_next_to_padding_stay():
    """Option A puts the 16 channels of stage 1 at 8..23 of stage 2, and those 32 at 16..47 of stage 3."""
    model, shape = network("resnet-20")
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.zeros_(module.bias)
            torch.nn.init.zeros_(module.running_mean)
    mask = {name: torch.ones_like(w, dtype=torch.bool) for name, w in model.named_parameters() if w.ndim == 4}
    for name, kept in mask.items():
        if name == "conv1.weight" or name.endswith("conv2.weight"):
            first = {16: 0, 32: 8, 64: 24}[len(kept)]
            kept[[first + 3, first + 7]] = False
            if name.startswith(("layer2", "layer3")):
                kept[first - 8] = False  # dead too, but joined to a channel of padding
    small = shrink(model, Mask(mask), example=torch.randn(shape))
    check_same(model, Mask(mask), small, shape)
    widths = [len(layer.weight) for layer in (small.conv1, small.layer2[0].conv2, small.layer3[2].conv2)]
    assert widths == [14, 30, 62]
    assert small.linear.in_features == 62
