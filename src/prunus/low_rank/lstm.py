"""An LSTM whose gates multiply by products of thin matrices."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from prunus.errors import PrunusError
from prunus.low_rank.factors import split_blocks

_GATES = 4


class LowRankLSTM(nn.Module):
    """`nn.LSTM` with each gate's weight as V U, of rank `ratio` of its full one; inputs and outputs are the same.

    `u_ih_l0` is (4, rank, inputs), `v_ih_l0` (4, hidden, rank), and so on for `hh`, layers and directions. Steps are
    taken one by one, and packed sequences are not taken.
    """

    def __init__(self, like: nn.LSTM, ratio: float) -> None:
        super().__init__()
        self.hidden_size, self.num_layers, self.batch_first = like.hidden_size, like.num_layers, like.batch_first
        self.bidirectional, self.dropout = like.bidirectional, like.dropout
        own = dict(like.named_parameters())
        for name, parameter in own.items():
            kind, _, rest = name.partition("_")
            if kind == "weight":
                u, v = split_blocks(parameter, _GATES, ratio)
                self.register_parameter(f"u_{rest}", nn.Parameter(u))
                self.register_parameter(f"v_{rest}", nn.Parameter(v))
            else:
                self.register_parameter(name, nn.Parameter(parameter.detach().clone()))
        self.bias = like.bias

    def forward(
        self, inputs: Tensor, state: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """(T, B, inputs), or (B, T, inputs) with `batch_first`, to outputs and the last (hidden, cell)."""
        if not isinstance(inputs, Tensor) or inputs.ndim != 3:
            raise PrunusError("a low-rank LSTM takes a batch of sequences as one tensor of three dimensions.")
        outputs = inputs.transpose(0, 1) if self.batch_first else inputs  # (T, B, inputs)
        ends = ["", "_reverse"] if self.bidirectional else [""]
        count = self.num_layers * len(ends)
        if state is None:
            zero = outputs.new_zeros(count, outputs.shape[1], self.hidden_size)
            state = (zero, zero)
        hiddens, cells = [], []
        for layer in range(self.num_layers):
            if layer:
                outputs = F.dropout(outputs, self.dropout, self.training)
            sides = []
            for side, end in enumerate(ends):
                place = layer * len(ends) + side
                along, hidden, cell = self._along(
                    outputs.flip(0) if side else outputs, state[0][place], state[1][place], f"l{layer}{end}"
                )
                sides.append(along.flip(0) if side else along)
                hiddens.append(hidden)
                cells.append(cell)
            outputs = torch.cat(sides, dim=-1)
        last = torch.stack(hiddens), torch.stack(cells)
        return (outputs.transpose(0, 1) if self.batch_first else outputs), last

    def _along(self, inputs: Tensor, hidden: Tensor, cell: Tensor, where: str) -> tuple[Tensor, Tensor, Tensor]:
        """One layer in one direction: inputs (T, B, inputs) to outputs (T, B, hidden), and where it ends."""
        from_inputs, steps = self._gates(inputs, f"ih_{where}"), []
        for gates in from_inputs:
            i, f, g, o = (gates + self._gates(hidden, f"hh_{where}")).unbind(-2)  # (B, hidden) each
            cell = f.sigmoid() * cell + i.sigmoid() * g.tanh()
            hidden = o.sigmoid() * cell.tanh()
            steps.append(hidden)
        return torch.stack(steps), hidden, cell

    def _gates(self, values: Tensor, where: str) -> Tensor:
        """(..., inputs) to (..., 4, hidden)."""
        u, v = self.get_parameter(f"u_{where}"), self.get_parameter(f"v_{where}")
        narrow = F.linear(values, u.flatten(0, 1)).unflatten(-1, (_GATES, -1))  # (..., 4, rank)
        found = torch.einsum("...gr,ghr->...gh", narrow, v)
        return found + self.get_parameter(f"bias_{where}").view(_GATES, -1) if self.bias else found
