"""A sparse linear layer that multiplies by `torch.sparse`, whose compressed rows (CSR) at times are faster on a CPU.

It takes and gives batches with nothing to turn but views: from batch to batch that can win over kernels on lanes where
few entries are kept. On lanes, and where `torch.sparse` has no code, the layer is any sparse layer.
"""

import warnings
from typing import Any, NamedTuple, Self, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from prunus.sparse.layers import SparseLinear


class Rows(NamedTuple):
    """Where the kept entries of a matrix are, row by row."""

    starts: Tensor  # (rows + 1,) int32
    columns: Tensor  # (kept,) int32
    order: Tensor  # (kept,) int64, which of the values an entry has
    shape: tuple[int, int]

    @classmethod
    def of(cls, entries: Tensor, shape: tuple[int, int]) -> Self:
        """Of places (kept,) in the flattened matrix, in any order."""
        order = entries.argsort()
        rows, columns = entries[order] // shape[1], entries[order] % shape[1]
        starts = torch.zeros(shape[0] + 1, dtype=torch.int32)
        starts[1:] = torch.bincount(rows, minlength=shape[0]).cumsum(0)
        return cls(starts, columns.int(), order, shape)

    def matrix(self, values: Tensor) -> Tensor:
        """The matrix, as `torch.sparse` has it."""
        return torch.sparse_csr_tensor(
            self.starts, self.columns, values[self.order], self.shape, check_invariants=False
        )


class CompressedLinear(SparseLinear):
    """`SparseLinear`, by `torch.sparse` from batch to batch.

    >>> CompressedLinear.of(nn.Linear(4, 2), torch.eye(2, 4).bool())
    CompressedLinear((2, 4), density=0.25, bias=True)
    """

    def __init__(self, connections: Any, values: nn.Parameter, bias: nn.Parameter | None) -> None:
        super().__init__(connections, values, bias)
        high, wide = connections.shape
        entries = connections.entries
        self.forwards = Rows.of(entries, (high, wide))
        self.backwards = Rows.of(entries % wide * high + entries // wide, (wide, high))

    @classmethod
    def instead_of(cls, layer: SparseLinear) -> Self:
        """The layer with the same parameters."""
        return cls(layer.connections, layer.values, layer.bias).train(layer.training)

    def forward(self, inputs: Tensor) -> Tensor:
        """(..., inputs) to (..., outputs)."""
        if self.chain is not None or not is_available(inputs) or torch.compiler.is_compiling():
            return super().forward(inputs)
        flat = inputs.reshape(-1, inputs.shape[-1])
        product = cast(Any, _Product).apply(flat, self.values, self.bias, self.forwards, self.backwards)
        return cast(Tensor, product.view(*inputs.shape[:-1], self.connections.shape[0]))


def is_available(inputs: Tensor) -> bool:
    """Whether `torch.sparse` multiplies such inputs by compressed rows: on a CPU where MKL does it."""
    return torch.backends.mkl.is_available() and inputs.device.type == "cpu" and inputs.dtype == torch.float32


class _Product(torch.autograd.Function):
    """Derivatives by hand: those of `torch.sparse` are slower, and make the gradient of the weight a matrix."""

    @staticmethod
    def forward(
        ctx: Any, inputs: Tensor, values: Tensor, bias: Tensor | None, forwards: Rows, backwards: Rows
    ) -> Tensor:
        ctx.save_for_backward(inputs, values)
        ctx.rows = forwards, backwards
        matrix, columns = forwards.matrix(values), inputs.t()
        outputs = matrix @ columns if bias is None else torch.addmm(bias[:, None], matrix, columns)
        return outputs.t().contiguous()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradients: Tensor) -> tuple[Any, ...]:
        inputs, values = ctx.saved_tensors
        forwards, backwards = ctx.rows
        wanted = ctx.needs_input_grad
        columns = gradients.t()
        of_inputs = (backwards.matrix(values) @ columns).t() if wanted[0] else None
        of_values = None
        if wanted[1]:
            sampled = torch.sparse.sampled_addmm(forwards.matrix(values), columns, inputs, beta=0.0).values()
            of_values = torch.empty_like(values).index_copy_(0, forwards.order, sampled)
        return of_inputs, of_values, gradients.sum(0) if wanted[2] else None, None, None


with warnings.catch_warnings():  # the first such matrix of a process warns that they are new
    warnings.simplefilter("ignore", UserWarning)
    torch.sparse_csr_tensor([0, 1], [0], [1.0], (1, 1), check_invariants=False)
