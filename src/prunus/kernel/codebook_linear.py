"""Linear layers that multiply straight from packed entries: no dense weight in memory, for inference on the CPU."""

from typing import Any, Self

import torch
from torch import Tensor, nn

from prunus.errors import PrunusError
from prunus.kernel.codebook import PARTS, PackedMatrix
from prunus.kernel.codebook_product import multiplied

_LIBRARY = torch.library.Library("prunus", "FRAGMENT")
_LIBRARY.define(
    "codebook_linear(Tensor inputs, Tensor words, Tensor starts, Tensor bounds, Tensor rows, Tensor values, "
    "Tensor? bias, int outputs, int layout) -> Tensor"
)
_LIBRARY.impl("codebook_linear", multiplied, "CPU")


@torch.library.register_fake("prunus::codebook_linear", lib=_LIBRARY)  # type: ignore[untyped-decorator]
def _(
    inputs: Tensor,
    words: Tensor,
    starts: Tensor,
    bounds: Tensor,
    rows: Tensor,
    values: Tensor,
    bias: Tensor | None,
    outputs: int,
    layout: int,
) -> Tensor:
    return inputs.new_empty(*inputs.shape[:-1], outputs)


_multiplied = torch.ops.prunus.codebook_linear.default


class CodebookLinear(nn.Module):
    """`inputs` (..., columns) times a packed matrix, plus a bias: what `nn.Linear` gives, for inference on the CPU.

    Any batch; made for small ones, where the bytes of the weight are what takes the time, and in which a sample has the
    same outputs as alone. Raises `PrunusError` where a
    gradient is asked for, and for inputs that are not float32 on the CPU.

    >>> weight = torch.tensor([[0.0, 2.0, 0.0], [-1.0, 0.0, 2.0]])
    >>> CodebookLinear(PackedMatrix.pack(weight))(torch.tensor([1.0, 2.0, 3.0]))
    tensor([4., 5.])
    """

    words: Tensor
    starts: Tensor
    bounds: Tensor
    rows: Tensor
    values: Tensor
    bias: Tensor | None

    def __init__(self, matrix: PackedMatrix, bias: Tensor | None = None) -> None:
        super().__init__()
        self.out_features, self.in_features = matrix.shape
        self.layout = matrix.layout
        for name in PARTS:
            self.register_buffer(name, getattr(matrix, name))
        if bias is not None and (bias.shape != (self.out_features,) or bias.dtype != torch.float32):
            raise PrunusError(
                f"found a bias {bias.dtype} {tuple(bias.shape)}, expected float32 ({self.out_features},)."
            )
        self.register_buffer("bias", None if bias is None else bias.detach())

    @classmethod
    def of(cls, linear: nn.Linear) -> Self:
        """The layer that computes what `linear` does."""
        return cls(PackedMatrix.pack(linear.weight), linear.bias)

    @property
    def matrix(self) -> PackedMatrix:
        """The packed weight."""
        shape = self.out_features, self.in_features
        return PackedMatrix(shape, self.layout, self.words, self.starts, self.bounds, self.rows, self.values)

    @property
    def weight(self) -> Tensor:
        """The weight, made dense anew each time it is asked for."""
        return self.matrix.decode()

    def forward(self, inputs: Tensor) -> Tensor:
        """(..., columns) -> (..., rows)."""
        own: dict[str, Any] = self._buffers  # attributes would take a tenth of the time of a small product
        if inputs.dtype != torch.float32 or not inputs.is_cpu or own["values"].dtype != torch.float32:
            raise PrunusError(
                f"a codebook layer of {self.values.dtype} was given {inputs.dtype} on {inputs.device}, "
                "it computes in float32 on the CPU."
            )
        if not inputs.ndim or inputs.shape[-1] != self.in_features:
            raise PrunusError(f"inputs {tuple(inputs.shape)} do not fit a layer of {self.in_features} columns.")
        if inputs.requires_grad and torch.is_grad_enabled():
            raise PrunusError("a codebook layer computes no gradients: call it under torch.no_grad().")
        parts = own["words"], own["starts"], own["bounds"], own["rows"], own["values"], own["bias"]
        # the operator would take as long as all the rest of a small product
        eager = type(inputs) is Tensor and not torch.compiler.is_compiling()
        return (multiplied if eager else _multiplied)(inputs, *parts, self.out_features, self.layout)

    def extra_repr(self) -> str:
        """Sizes, as `nn.Linear` shows them, and the bytes of the packed weight."""
        bias = self.bias is not None
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, {bias=}, bytes={self.matrix.nbytes:,}"
        )
