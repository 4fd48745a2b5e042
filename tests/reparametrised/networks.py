"""Networks small enough to be trained in a test, or by hand, and one method of each kind."""

import torch
from torch import Tensor, nn

from prunus.reparametrised import (
    DynamicPruning,
    HardConcrete,
    Method,
    Movement,
    Quantised,
    Reparametrisation,
    SoftMovement,
    SoftThreshold,
    Surgery,
    VariationalDropout,
)

METHODS: dict[str, Method] = {
    "dpf": DynamicPruning(0.3, end=20, every=4),
    "dpf-per-tensor": DynamicPruning(0.3, end=20, every=4, per_tensor=True),
    "surgery": Surgery(0.5, until=25, gamma=0.1),
    "movement": Movement(0.3, end=20, rate=10.0),
    "soft-movement": SoftMovement(3e-3, rate=30.0, warm_up=5),
    "soft-threshold": SoftThreshold(-4.0, 1e-3),
    "variational-dropout": VariationalDropout(1e-3, warm_up=5, log_variance=-6.0, rate=20.0),
    "l0": HardConcrete(1e-3, rate=20.0),
    "l0-inputs": HardConcrete(1e-3, axis=1, rate=20.0),
    "binary": Quantised(),
    "3-bit": Quantised(3),
}


class Normed(nn.Module):
    """A convolution with BatchNorm before a linear layer with a bias."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 8, 3, 2, 1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.fc = nn.Linear(128, 10)

    def forward(self, images: Tensor) -> Tensor:
        maps = torch.relu(self.norm(self.conv(images)))  # (B, 8, 4, 4)
        return self.fc(maps.flatten(1))  # type: ignore[no-any-return]


def single(values: list[list[float]], method: Method) -> tuple[Reparametrisation, nn.Linear]:
    """One linear layer of these weights under `method`; the layer of the network is what computes."""
    model = nn.Linear(len(values[0]), len(values), bias=False)
    model.weight.data.copy_(torch.tensor(values))
    learning = Reparametrisation(model, method)
    return learning, learning.network  # type: ignore[return-value]
