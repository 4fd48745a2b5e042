"""Input channels removed from layers, and the layers fitted anew, so that they give what they gave before."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from prunus.batches import Batch
from prunus.errors import PrunusError
from prunus.inputs import columns
from prunus.mask import Mask
from prunus.modes import mode
from prunus.pattern import channel
from prunus.scope import count
from prunus.shrinking import Wiring
from prunus.structured.descent import support
from prunus.structured.layers import layer_of
from prunus.tree import assign, parameters, unwrapped

_INDEPENDENT = 1e-5  # of a column's length, that no column before it accounts for


@dataclass(frozen=True)
class Reconstruction:
    """What fitting made: `tree.assign(model, weights)`, then `shrink(model, mask, example=x)`.

    `weights` are the fitted weights and biases by parameter name, `mask` what of the weights is kept, and `errors` the
    squared difference from the original layers' outputs as a part of their variance, or of their mean square where the
    layer has no bias.
    """

    weights: dict[str, Tensor]
    mask: Mask
    errors: dict[str, float]


def select_channels(
    model: nn.Module, densities: Mapping[str, float], batches: Sequence[Batch], channels: Wiring
) -> Reconstruction:
    """Keep of what each layer in `densities` reads this part of the channels, chosen by LASSO, and fit the layer anew.

    Idea: a channel can go where the next layer's output can be made of the others. Layer after layer, few channels are
    chosen that make it nearly, and then the weights that make it best of them.
    Formula: min over b of |Y - sum_i b_i X_i W_i|^2 / 2 + lambda |b|_1, lambda raised until as many b_i as are asked
    for are not zero; then W and bias by least squares. Y is what the layer gives in the original network, X what it
    reads where the layers before it are pruned already.
    Source: He, Zhang & Sun 2017, "Channel pruning for accelerating very deep neural networks", section 3.1.
    Use: trained networks, without or before training on; `batches` yields (inputs, labels), and is gone through for
    each layer. Of `channels`, the places of one feature map behind `flatten` count as one, and what must stay is kept
    without a penalty. What no layer reads any longer, `shrink` removes; in residual networks name the layers inside of
    blocks, for a trunk is read by many.
    Cost: for each layer two passes over the data, and a Gram matrix of (inputs x places)^2 doubles that is solved once.
    Differs: the authors' code draws ten positions of each image, chooses on some hundred rows, and is content with up
    to a tenth more channels than asked for; like it, we choose and fit once, and leave W as it is where the paper
    normalises it.

    Raises `PrunusError` for a name that is no layer's, a density that leaves no channel, and without batches.
    """
    if unknown := [name for name in densities if name not in channels.inputs]:
        raise PrunusError(f"no layer reads channels with {', '.join(unknown[:3])}.")

    def chosen(name: str, weight: Tensor, moments: _Moments) -> Tensor:
        numbers = channels.inputs[name]
        distinct, places = numbers.unique(return_inverse=True)  # (groups,), (in,)
        keep = count(densities[name], int((distinct >= 0).sum()))
        if not keep and not (distinct < 0).any():
            raise PrunusError(f"{name}: density {densities[name]:g} leaves none of {len(distinct)} channels.")
        member = F.one_hot(places.repeat_interleave(weight.shape[2:].numel()), len(distinct)).to(
            moments.gram
        )  # (columns, groups)
        rows = weight.flatten(1).to(moments.gram)
        gram = member.T @ ((rows.T @ rows) * moments.gram) @ member
        target = member.T @ (rows.T * moments.cross).sum(1)
        kept = support(gram.cpu().numpy(), target.cpu().numpy(), (distinct < 0).numpy(), keep)
        return channel(1).entries(torch.from_numpy(kept)[places], weight.shape).to(weight.device)

    return _refitted(model, [name for name in channels.inputs if name in densities], batches, chosen)


def refit_channels(model: nn.Module, mask: Mask, batches: Sequence[Batch]) -> Reconstruction:
    """The layers that `mask` names fitted anew on whatever input channels it keeps of them, in the mask's order.

    For any score under the pattern `channel(1)`: what step (2) of `select_channels` makes of it. Raises `PrunusError`
    for a weight of anything but Linear and Conv2d without groups, for a mask that keeps a part of a channel, and
    without batches.
    """
    for name, kept in mask.items():
        if not torch.equal(kept, channel(1).entries(kept.transpose(0, 1).flatten(1).any(1), kept.shape)):
            raise PrunusError(f"{name}: the mask keeps a part of an input channel, expected whole ones.")
    return _refitted(model, list(mask), batches, lambda name, weight, moments: mask[name].to(weight.device))


@dataclass(frozen=True)
class _Moments:
    """Of the patches x that a layer reads, and the outputs y that it should give, over all rows; centred or not."""

    gram: Tensor  # (columns, columns), x x^T
    cross: Tensor  # (columns, out), x y^T
    square: Tensor  # |y|^2
    means: tuple[Tensor, Tensor]  # of x and y, zeros where not centred


_Choice = Callable[[str, Tensor, _Moments], Tensor]


@torch.no_grad()
def _refitted(model: nn.Module, names: Sequence[str], batches: Sequence[Batch], choose: _Choice) -> Reconstruction:
    original = unwrapped(model)
    network = deepcopy(original)
    fitted: dict[str, Tensor] = {}
    masks: dict[str, Tensor] = {}
    errors: dict[str, float] = {}
    for name in names:
        layer = layer_of(network, name)
        moments = _moments(layer, _pairs(original, network, name, batches))
        masks[name] = choose(name, layer.weight.detach(), moments)
        weight, bias, errors[name] = _least_squares(moments, masks[name][0].flatten())
        fitted[name] = weight.reshape(layer.weight.shape).to(layer.weight)
        if layer.bias is not None:
            bias_name = name.removesuffix("weight") + "bias"
            if bias_name in parameters(original):
                fitted[bias_name] = bias.to(layer.bias)
        assign(network, {own: value for own, value in fitted.items() if own in parameters(network)})
    return Reconstruction(fitted, Mask(masks), errors)


def _pairs(
    original: nn.Module, network: nn.Module, name: str, batches: Sequence[Batch]
) -> Iterator[tuple[Tensor, Tensor]]:
    """For each batch what the layer reads in `network` and what it gives in `original`."""
    read: list[Tensor] = []
    given: list[Tensor] = []
    handles = [
        layer_of(network, name).register_forward_pre_hook(lambda _, args: read.append(args[0])),
        layer_of(original, name).register_forward_hook(lambda _, args, output: given.append(output)),
    ]
    try:
        with mode(original, training=False), mode(network, training=False):
            for inputs, _ in batches:
                original(inputs)
                network(inputs)
                yield from zip(read, given, strict=True)
                read.clear()
                given.clear()
    finally:
        for handle in handles:
            handle.remove()


def _moments(layer: nn.Linear | nn.Conv2d, pairs: Iterator[tuple[Tensor, Tensor]]) -> _Moments:
    sums: list[Tensor] = []
    rows = 0
    for inputs, outputs in pairs:
        x = torch.cat([windows[0] for windows in columns(layer, inputs)])  # (rows, in x places)
        y = outputs.movedim(1, -1).flatten(0, -2).double() if outputs.ndim == 4 else outputs.flatten(0, -2).double()
        found = [x.T @ x, x.T @ y, y.square().sum(), x.sum(0), y.sum(0)]
        sums = [total.add_(part) for total, part in zip(sums, found, strict=True)] if sums else found
        rows += len(x)
    if not rows:
        raise PrunusError("channels cannot be fitted without a batch of inputs, found none.")
    gram, cross, square, x_sum, y_sum = sums
    if layer.bias is None:
        return _Moments(gram, cross, square, (0 * x_sum, 0 * y_sum))
    centred = square - y_sum.square().sum() / rows
    return _Moments(
        gram - torch.outer(x_sum, x_sum) / rows,
        cross - torch.outer(x_sum, y_sum) / rows,
        centred,
        (x_sum / rows, y_sum / rows),
    )


def _least_squares(moments: _Moments, kept: Tensor) -> tuple[Tensor, Tensor, float]:
    """Weight (out, columns), zero but at `kept`, and bias (out,) nearest to the outputs, and the relative error."""
    gram, cross = moments.gram[kept][:, kept], moments.cross[kept]
    solution = _solved(gram, cross)  # (kept columns, out)
    weight = torch.zeros_like(moments.cross.T)
    weight[:, kept] = solution.T
    x_mean, y_mean = moments.means
    left = moments.square - 2 * (solution * cross).sum() + (solution * (gram @ solution)).sum()
    return weight, y_mean - weight @ x_mean, max(float(left / moments.square), 0.0) if moments.square > 0 else 0.0


def _solved(gram: Tensor, cross: Tensor) -> Tensor:
    """The shortest s with `gram` s = `cross`, by Cholesky where no column is nearly made of those before it."""
    scale = gram.diagonal().sqrt()  # (columns,)
    factor, failed = torch.linalg.cholesky_ex(gram / scale / scale[:, None])
    if len(gram) and not failed and factor.diagonal().min() > _INDEPENDENT:
        return torch.cholesky_solve(cross / scale[:, None], factor) / scale[:, None]
    shortest: Tensor = torch.linalg.pinv(gram, hermitian=True) @ cross
    return shortest
