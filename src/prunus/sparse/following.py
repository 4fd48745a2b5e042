"""Which layers of a network follow each other closely enough to hand lanes on."""

from collections import Counter
from typing import Any

from torch import fx, nn

from prunus.operators import plain_name
from prunus.sparse.chain import HOOKS, Chain, GivesLanes, TakesLanes
from prunus.sparse.layers import SparseLayer
from prunus.sparse.normalising import ON_LANES, normalise_batches, normalise_lanes
from prunus.sparse.stacked import StackedSequential

# fmt: off
# no dropout, which would draw other numbers
_POINTWISE = {
    "identity", "relu", "relu6", "leakyrelu", "elu", "celu", "selu", "gelu", "silu", "mish", "hardswish",
    "hardsigmoid", "hardtanh", "sigmoid", "tanh", "softplus", "softsign", "clamp", "neg", "abs",
    "add", "iadd", "sub", "isub", "mul", "imul",
}
# fmt: on


def join(model: nn.Module) -> None:
    """Let sparse layers of `model` hand lanes on wherever only functions of single numbers and BatchNorm are between.

    A network that cannot be traced is left alone: each of its layers turns what it takes and gives.
    """
    part(model)
    try:
        graph = _Tracer().trace(model)
    except Exception:  # whatever a network's own code raises when it is given no tensor but a stand-in
        return
    lanes = _Values(model, graph).on_lanes()
    chain = Chain(any(len(lanes.intersection(node.all_input_nodes)) > 1 for node in lanes))
    for node in graph.nodes:
        if node.op != "call_module":
            continue
        module = model.get_submodule(str(node.target))
        takes, gives = node.all_input_nodes[0] in lanes, node in lanes
        if isinstance(module, SparseLayer):
            if takes or gives:
                module.chain, module.takes_lanes, module.gives_lanes = chain, takes, gives
        elif type(module) in ON_LANES:
            if takes:
                normalise_lanes(module, chain)
        elif not _is_pointwise(module):
            if takes:
                module.register_forward_pre_hook(TakesLanes(chain))
            if gives:
                module.register_forward_hook(GivesLanes(chain))
    for sequence in model.modules():
        if type(sequence) is nn.Sequential and any(isinstance(one, SparseLayer) for one in sequence.children()):
            sequence.__class__ = StackedSequential  # with all that it holds


def part(model: nn.Module) -> None:
    """Undo `join`."""
    for module in model.modules():
        for hooks in (module._forward_pre_hooks, module._forward_hooks):
            for key in [key for key, hook in hooks.items() if isinstance(hook, HOOKS)]:
                del hooks[key]
        normalise_batches(module)
        if isinstance(module, SparseLayer):
            module.chain, module.takes_lanes, module.gives_lanes = None, False, False
        elif type(module) is StackedSequential:
            module.__class__ = nn.Sequential  # type: ignore[assignment]


class _Tracer(fx.Tracer):
    """Stops at sparse layers as at torch's own, and at whatever has none of them inside."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        inner = any(isinstance(one, SparseLayer) for one in m.modules())
        return isinstance(m, SparseLayer) or not inner or super().is_leaf_module(m, module_qualified_name)


class _Values:
    """The values of a graph, in groups that are lanes together or not at all."""

    def __init__(self, model: nn.Module, graph: fx.Graph) -> None:
        self._model, self._graph = model, graph
        self._calls = Counter(str(node.target) for node in graph.nodes if node.op == "call_module")
        self._group: dict[fx.Node, fx.Node] = {node: node for node in graph.nodes}
        self._plain: set[fx.Node] = set()
        for node in graph.nodes:
            self._read(node)

    def on_lanes(self) -> set[fx.Node]:
        """The values that sparse layers make and sparse layers take, with nothing between that minds lanes."""
        plain = {self._of(node) for node in self._plain}
        made = {self._of(node) for node in self._graph.nodes if self._is_sparse(node)}
        taken = {self._of(node.all_input_nodes[0]) for node in self._graph.nodes if self._is_sparse(node)}
        groups = (made & taken) - plain
        return {node for node in self._graph.nodes if self._of(node) in groups}

    def _read(self, node: fx.Node) -> None:
        if node.op == "call_module" and len(node.all_input_nodes) == len(node.args) == 1 and not node.kwargs:
            module = self._model.get_submodule(str(node.target))
            called_again = self._calls[str(node.target)] > 1
            if _is_pointwise(module) or (type(module) in ON_LANES and not called_again):
                self._join(node)
            elif called_again:
                self._plain |= {node, *node.all_input_nodes}
        elif node.op in ("call_function", "call_method") and _minds_no_lanes(node):
            self._join(node)
        else:
            self._plain |= {node, *node.all_input_nodes}

    def _join(self, node: fx.Node) -> None:
        for source in node.all_input_nodes:
            self._group[self._of(source)] = self._of(node)

    def _of(self, node: fx.Node) -> fx.Node:
        while self._group[node] is not node:
            node = self._group[node]
        return node

    def _is_sparse(self, node: fx.Node) -> bool:
        return node.op == "call_module" and isinstance(self._model.get_submodule(str(node.target)), SparseLayer)


def _is_pointwise(module: nn.Module) -> bool:
    return type(module).__module__.startswith("torch.nn") and plain_name(type(module).__name__) in _POINTWISE


def _minds_no_lanes(node: fx.Node) -> bool:
    name = plain_name(str(getattr(node.target, "__name__", node.target)))
    if name == "mean":
        dim: Any = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim")
        return all(isinstance(one, int) and one > 0 for one in (dim if isinstance(dim, tuple | list) else [dim]))
    if name == "getitem":
        parts: Any = node.args[1] if isinstance(node.args[1], tuple) else (node.args[1],)
        return parts[0] == slice(None) and all(isinstance(one, slice) for one in parts)
    return name in _POINTWISE
