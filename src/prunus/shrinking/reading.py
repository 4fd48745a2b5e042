"""Following every channel of a network forwards, from the layer that makes it to the layers that read it."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch
from torch import Size, Tensor, fx, nn
from torch.fx.node import map_arg

from prunus.errors import PrunusError
from prunus.operators import operator_name, plain_name
from prunus.shrinking.channels import Channels, Signal
from prunus.shrinking.layers import Depthwise, Layer, Normalisation
from prunus.shrinking.operators import CROSSING, JOINING, RESHAPING, keeps_channels_apart
from prunus.shrinking.resizing import is_depthwise


class Reading(fx.Interpreter):
    """Runs a network operator by operator, and notes its channels, the layers between them, and what is constant.

    The network must be in evaluation mode and on the CPU. `run` raises `PrunusError` at the first operator that it
    cannot follow.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__(_traced(network))
        self.extra_traceback = False  # it would be written into our messages
        self.channels = Channels()
        self.layers: list[Layer] = []
        self.depthwise: list[Depthwise] = []
        self.normalisations: list[Normalisation] = []
        self._network = network
        self._tied = _tied_modules(network, self.graph)
        self._signals: dict[fx.Node, Signal] = {}
        self._layer_at: dict[fx.Node, Layer] = {}

    def run_node(self, n: fx.Node) -> Any:
        """The result of node `n`; what it tells is noted."""
        result = super().run_node(n)
        if isinstance(result, Tensor):
            self._signals[n] = self._signal(n, result)
        elif isinstance(result, tuple | list | dict) and any(isinstance(part, Tensor) for part in result):
            raise self._refusal(n, "gives more than one tensor")
        return result

    def _signal(self, node: fx.Node, result: Tensor) -> Signal:
        sources = [self._signals[source] for source in node.all_input_nodes if source in self._signals]
        if node.op == "output":
            self.channels.pin(sources[0].channels)
            return sources[0]
        if result.ndim < 2:
            raise self._refusal(node, f"gives a tensor of shape {tuple(result.shape)}, not (batch, channels, ...)")
        if node.op == "placeholder":
            return Signal.varying(self._pinned(result.shape[1]), result.shape)
        if not sources:
            raise self._refusal(node)
        module = self._network.get_submodule(str(node.target)) if node.op == "call_module" else None
        if type(module) is nn.Conv2d and module.groups > 1 and is_depthwise(module):
            return self._each_alone(node, module, sources[0], result.shape)
        if type(module) in (nn.Linear, nn.Conv2d):
            return self._mixed(node, module, sources[0], result.shape)
        if type(module) in (nn.BatchNorm1d, nn.BatchNorm2d):
            return self._normalised(node, module, sources[0])
        name = plain_name(operator_name(node, self._network))
        if name in RESHAPING:
            return self._reshaped(node, sources[0], result.shape)
        if name in CROSSING:
            self.channels.pin(sources[0].channels)
            return Signal.varying(sources[0].channels, result.shape)
        if name in JOINING:
            return self._concatenated(node, result.shape)
        args, kwargs = self.fetch_args_kwargs_from_env(node)
        if name == "pad":
            return self._padded(node, sources[0], args[1] if len(args) > 1 else kwargs["pad"], result)
        if keeps_channels_apart(name, len(sources[0].shape), args, kwargs):
            return self._apart(node, sources, result)
        raise self._refusal(node)

    def _mixed(self, node: fx.Node, module: Any, source: Signal, shape: Size) -> Signal:
        """A layer makes new channels out of those that it reads."""
        self._check_weight(node, module)
        if isinstance(module, nn.Conv2d) and module.groups != 1:
            raise self._refusal(node, f"has {module.groups} groups")
        if len(source.shape) != module.weight.ndim:
            raise self._refusal(node, f"reads a tensor of shape {tuple(source.shape)}")
        outputs = self.channels.new(shape[1])
        if node.target in self._tied:
            self.channels.pin(torch.cat([source.channels, outputs]))
        layer = Layer(module, source, outputs)
        self.layers.append(layer)
        self._layer_at[node] = layer
        return Signal(outputs, layer.constants(), shape)

    def _each_alone(self, node: fx.Node, module: nn.Conv2d, source: Signal, shape: Size) -> Signal:
        """A depthwise convolution leaves channels where they are."""
        self._check_weight(node, module)
        if len(source.shape) != 4:
            raise self._refusal(node, f"reads a tensor of shape {tuple(source.shape)}")
        if node.target in self._tied:
            self.channels.pin(source.channels)
        depthwise = Depthwise(module, source.channels)
        self.depthwise.append(depthwise)
        return Signal(source.channels, depthwise.constants(source.constants), shape)

    def _normalised(self, node: fx.Node, module: Any, source: Signal) -> Signal:
        """BatchNorm leaves channels where they are."""
        if module.affine:
            self._check_weight(node, module)
        normalisation = Normalisation(module, source.channels)
        self.normalisations.append(normalisation)
        maker = node.all_input_nodes[0]
        if node.target in self._tied:
            self.channels.pin(source.channels)
        elif module.running_mean is not None and maker in self._layer_at and len(maker.users) == 1:
            self._layer_at[maker].follower = normalisation
        return Signal(source.channels, normalisation.constants(source.constants), source.shape)

    def _reshaped(self, node: fx.Node, source: Signal, shape: Size) -> Signal:
        """The same values in the same order: a channel stays one, or becomes as many as it has places."""
        if shape[:2] == source.shape[:2]:
            places = 1
        elif len(shape) == 2 and shape[0] == source.shape[0]:
            places = source.shape[2:].numel()
        else:
            raise self._refusal(node, f"makes {tuple(shape)} of {tuple(source.shape)}")
        return Signal(source.channels.repeat_interleave(places), source.constants.repeat_interleave(places), shape)

    def _padded(self, node: fx.Node, source: Signal, pad: Sequence[int], result: Tensor) -> Signal:
        """Padding inside the channels, and further channels in front and behind."""
        front, behind, *batch = [*pad, *[0] * (2 * result.ndim - len(pad))][-4:]  # the last dimension comes first
        if any(batch) or min(front, behind) < 0:
            raise self._refusal(node, f"pads by {tuple(pad)}")
        channels = torch.cat([self._pinned(front), source.channels, self._pinned(behind)])
        known = torch.cat([torch.ones(front), ~source.constants.isnan(), torch.ones(behind)]).bool()
        return Signal(channels, self._constants(node, result).where(known, torch.nan), result.shape)

    def _concatenated(self, node: fx.Node, shape: Size) -> Signal:
        """The channels of one tensor behind those of another."""
        parts = node.args[0] if node.args else node.kwargs["tensors"]
        dim = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", node.kwargs.get("axis", 0))
        signals = [self._signals.get(part) for part in parts] if isinstance(parts, list | tuple) else [None]
        known = [signal for signal in signals if signal is not None]
        if len(known) < len(signals):
            raise self._refusal(node)
        if not isinstance(dim, int) or dim % len(shape) != 1:
            raise self._refusal(node, f"joins along dimension {dim}, not along the channels")
        return Signal(torch.cat([s.channels for s in known]), torch.cat([s.constants for s in known]), shape)

    def _apart(self, node: fx.Node, sources: Sequence[Signal], result: Tensor) -> Signal:
        """Every channel of the result is made of the same channels of the sources."""
        if any(s.shape[:2] != result.shape[:2] or len(s.shape) != len(sources[0].shape) for s in sources):
            shapes = ", ".join(str(tuple(source.shape)) for source in sources)
            raise self._refusal(node, f"makes {tuple(result.shape)} of {shapes}")
        for source in sources[1:]:
            self.channels.join(sources[0].channels, source.channels)
        known = torch.stack([~source.constants.isnan() for source in sources]).all(0)
        if not known.any():
            return Signal.varying(sources[0].channels, result.shape)
        return Signal(sources[0].channels, self._constants(node, result).where(known, torch.nan), result.shape)

    def _constants(self, node: fx.Node, result: Tensor) -> Tensor:
        """What `node` makes of constant channels, NaN where that is not the same everywhere; zeros for what varies."""

        def filled(source: fx.Node) -> Any:
            if source not in self._signals:
                return self.env[source]
            signal = self._signals[source]
            values = signal.constants.where(~signal.constants.isnan(), 0).to(result)
            return values.reshape(1, -1, *[1] * (len(signal.shape) - 2)).repeat(1, 1, *signal.shape[2:])

        args, kwargs = map_arg(node.args, filled), map_arg(node.kwargs, filled)
        made: Tensor = getattr(self, node.op)(node.target, args, kwargs)  # (1, channels, ...)
        values = made.double().reshape(result.shape[1], -1)
        return values[:, 0].where((values == values[:, :1]).all(1), torch.nan)

    def _pinned(self, count: int) -> Tensor:
        numbers = self.channels.new(count)
        self.channels.pin(numbers)
        return numbers

    def _check_weight(self, node: fx.Node, module: nn.Module) -> None:
        if "weight" not in dict(module.named_parameters(recurse=False)):
            raise self._refusal(node, "computes its weight: make it a parameter first")

    def _refusal(self, node: fx.Node, reason: str = "is no operator whose channels can be followed") -> PrunusError:
        place = node.target if node.op == "call_module" else node.name
        operator = operator_name(node, self._network)
        return PrunusError(f"{type(self._network).__name__} cannot be shrunk: {operator} at '{place}' {reason}.")


def _traced(network: nn.Module) -> fx.GraphModule:
    try:
        return fx.symbolic_trace(network)
    except Exception as error:  # whatever the network's own code raises when it is given no tensor but a stand-in
        reason = str(error).partition("\n")[0]
        raise PrunusError(f"{type(network).__name__} cannot be shrunk: it cannot be traced ({reason}).") from error


def _tied_modules(network: nn.Module, graph: fx.Graph) -> set[str]:
    """Names of modules that are called twice, or have a parameter that another module has too."""
    calls = Counter(str(node.target) for node in graph.nodes if node.op == "call_module")
    owners = Counter(id(p) for module in network.modules() for p in module.parameters(recurse=False))
    return {
        name
        for name, count in calls.items()
        if count > 1 or any(owners[id(p)] > 1 for p in network.get_submodule(name).parameters(recurse=False))
    }
