"""The diagonal of the Hessian by one backward sweep, as in Optimal Brain Damage."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.func import functional_call, jacrev
from torch.fx.node import map_aggregate, map_arg

from prunus.batches import Batch, Loss, averaged
from prunus.curvature.rules import POINTWISE, POOLING, SELECTING
from prunus.errors import PrunusError
from prunus.modes import mode
from prunus.operators import operator_name, plain_name
from prunus.tree import Tree, unwrapped, weights

LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


def hessian_diagonals(
    model: nn.Module,
    batches: Iterable[Batch],
    loss: Loss = nn.functional.cross_entropy,
    *,
    gauss_newton: bool = False,
) -> dict[str, Tensor]:
    """d^2 E / d w^2 of each prunable weight, E the mean loss over all rows, swept back as OBD does, in evaluation mode.

    With a = W x and y = f(a), the sweep carries only second derivatives by one value at a time: h(w_ij) = h(a_i) x_j^2,
    h(x_j) = sum_i w_ij^2 h(a_i), h(a) = f'(a)^2 h(y) + f''(a) dE/dy. It is exact where nothing that it carries is bent
    across two values: for the last layer; for the layer before, with one output or a loss that does not mix outputs, as
    squared error; elsewhere it leaves out the cross terms w_ij w_kj d^2E/da_i da_k, and in convolutions, sums and
    averages those between places. `gauss_newton` leaves out f'' too (Levenberg-Marquardt), and then nothing is negative
    for a convex loss.

    Cost: two forward passes and a backward one.
    Source: LeCun, Denker & Solla 1990, "Optimal brain damage", section 2. Raises `PrunusError` at the first operator
    without a rule (attention, LayerNorm, ...: take `hutchinson_diagonals`), for outputs that are not (batch, outputs),
    and as `prunus.evidence.gradients` does.
    """
    network, own = unwrapped(model), weights(model)
    if type(network) in LAYERS:
        network = nn.Sequential(network)  # tracing enters the outermost module, whatever it is
    with mode(model, training=False):
        traced = _traced(network)

    def measure(inputs: Tensor, labels: Tensor) -> dict[str, Tensor]:
        with torch.enable_grad():
            return _Sweep(traced, network, own, gauss_newton).diagonals(inputs, labels, loss)

    return averaged(measure, model, batches, "Hessian diagonal")


class _Sweep(fx.Interpreter):
    """Runs a network operator by operator, and goes back over what it noted."""

    def __init__(self, traced: fx.GraphModule, network: nn.Module, own: Tree, gauss_newton: bool) -> None:
        super().__init__(traced)
        self.extra_traceback = False  # it would be written into our messages
        self._network, self._gauss_newton = network, gauss_newton
        self._names = {id(weight): name for name, weight in own.items()}
        self._results: dict[fx.Node, Any] = {}
        self._second: dict[fx.Node, Tensor] = {}
        self._of_weights = {name: torch.zeros_like(weight, requires_grad=False) for name, weight in own.items()}

    def run_node(self, n: fx.Node) -> Any:
        """The result of node `n`, which is noted."""
        self._results[n] = super().run_node(n)
        return self._results[n]

    def fetch_args_kwargs_from_env(self, n: fx.Node) -> Any:
        """Copies, so that nothing noted is changed in place."""
        return map_aggregate(super().fetch_args_kwargs_from_env(n), lambda a: a.clone() if isinstance(a, Tensor) else a)

    def diagonals(self, inputs: Tensor, labels: Tensor, loss: Loss) -> dict[str, Tensor]:
        """Second derivatives by the weights, of the loss of a batch."""
        outputs = self.run(inputs.detach().clone().requires_grad_())
        if not isinstance(outputs, Tensor) or outputs.ndim != 2:
            found = tuple(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
            raise PrunusError(
                f"{type(self._network).__name__}: the sweep needs outputs (batch, outputs), found {found}."
            )
        noted = [n for n, result in self._results.items() if isinstance(result, Tensor) and result.requires_grad]
        first = torch.autograd.grad(loss(outputs, labels), [self._results[n] for n in noted], materialize_grads=True)
        last = next(n for n in noted if n.op == "output")
        self._second[last] = _of_loss(outputs, labels, loss)
        for node, slope in zip(reversed(noted), reversed(first), strict=True):
            if node in self._second and node.op not in ("placeholder", "get_attr"):
                self._back(node, slope, self._second.pop(node))
        return self._of_weights

    def _back(self, node: fx.Node, slope: Tensor, second: Tensor) -> None:
        """Hand second derivatives by the result of `node` on to what it is made of."""
        sources = [s for s in node.all_input_nodes if s in self._results and _varies(self._results[s])]
        if node.op == "output":
            self._add(sources[0], second)
            return
        module = self._network.get_submodule(str(node.target)) if node.op == "call_module" else None
        name = plain_name(operator_name(node, self._network))
        leaves = [self._results[s].detach().clone().requires_grad_() for s in sources]
        if type(module) in LAYERS:
            self._add(sources[0], self._through_layer(node, module, leaves[0], second))
        elif name in POINTWISE and len(sources) == 1 and _fixed(module):
            self._add(sources[0], self._through_function(node, sources, leaves, slope, second))
        elif name in SELECTING:
            result = self._again(node, sources, leaves)
            for source, part in zip(sources, torch.autograd.grad(result, leaves, second), strict=True):
                self._add(source, part)
        elif name in POOLING and leaves[0].ndim > 2 and slope.shape[:2] == leaves[0].shape[:2]:
            self._add(sources[0], self._through_pool(node, sources, leaves[0], second))
        else:
            place = node.target if node.op == "call_module" else node.name
            raise PrunusError(
                f"{type(self._network).__name__}: the sweep has no rule for {operator_name(node, self._network)} "
                f"at '{place}'; take hutchinson_diagonals."
            )

    def _through_layer(self, node: fx.Node, module: Any, inputs: Tensor, second: Tensor) -> Tensor:
        """With x^2 and W^2 in their places, the layer's own gradients are the sums wanted."""
        name = self._names.get(id(module.weight))
        if name is None:
            raise PrunusError(
                f"{type(self._network).__name__}: '{node.target}' computes its weight; make it a parameter."
            )
        squares = inputs.detach().square().requires_grad_(), module.weight.detach().square().requires_grad_()
        result = functional_call(module, {"weight": squares[1]}, (squares[0],))
        before, of_weight = torch.autograd.grad(result, squares, second)
        self._of_weights[name] += of_weight
        return before

    def _through_function(
        self, node: fx.Node, sources: list[fx.Node], leaves: list[Tensor], slope: Tensor, second: Tensor
    ) -> Tensor:
        result = self._again(node, sources, leaves)
        (first,) = torch.autograd.grad(result.sum(), leaves, create_graph=True)
        before = first.detach().square() * second
        if self._gauss_newton or not first.requires_grad:
            return before
        (bent,) = torch.autograd.grad(first.sum(), leaves, materialize_grads=True)
        return before + bent * slope

    def _through_pool(self, node: fx.Node, sources: list[fx.Node], inputs: Tensor, second: Tensor) -> Tensor:
        one = torch.zeros_like(inputs[:1, :1], requires_grad=False)
        jacobian = jacrev(lambda channel: self._again(node, sources, [channel]))(one)
        squares = jacobian.square().reshape(-1, one.numel())  # (places of the result, places)
        before: Tensor = second.reshape(*inputs.shape[:2], -1) @ squares
        return before.reshape(inputs.shape)

    def _again(self, node: fx.Node, sources: list[fx.Node], leaves: list[Tensor]) -> Tensor:
        """The result of `node` with `leaves` for the results of `sources`."""
        given = dict(zip(sources, (leaf.clone() for leaf in leaves), strict=True))
        args, kwargs = map_arg((node.args, node.kwargs), lambda s: given.get(s, self._results[s]))
        made: Tensor = getattr(self, node.op)(node.target, args, kwargs)
        return made

    def _add(self, node: fx.Node, second: Tensor) -> None:
        self._second[node] = self._second[node] + second if node in self._second else second


def _of_loss(outputs: Tensor, labels: Tensor, loss: Loss) -> Tensor:
    """Second derivatives of the loss by each output alone, (batch, outputs)."""
    leaf = outputs.detach().requires_grad_()
    (first,) = torch.autograd.grad(loss(leaf, labels), leaf, create_graph=True)
    if not first.requires_grad:
        return torch.zeros_like(first)
    columns = [
        torch.autograd.grad(first[:, c].sum(), leaf, retain_graph=True, materialize_grads=True)[0][:, c]
        for c in range(first.shape[1])
    ]
    return torch.stack(columns, 1)


def _varies(result: Any) -> bool:
    return isinstance(result, Tensor) and result.requires_grad


def _fixed(module: nn.Module | None) -> bool:
    """No batch statistics, which make entries functions of each other."""
    return not isinstance(module, nn.modules.batchnorm._BatchNorm) or module.running_mean is not None


def _traced(network: nn.Module) -> fx.GraphModule:
    try:
        return fx.symbolic_trace(network)
    except Exception as error:  # whatever the network's own code raises when it is given no tensor but a stand-in
        reason = str(error).partition("\n")[0]
        raise PrunusError(f"{type(network).__name__} cannot be swept: it cannot be traced ({reason}).") from error
