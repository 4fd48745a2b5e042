"""Training shared weights: the centroids are the parameters, the network's weights follow them."""

from collections.abc import Mapping
from typing import Any, Self

import torch
from torch import Tensor, nn

from prunus.codebook import Codebook
from prunus.errors import PrunusError
from prunus.tree import parameters


class Sharing:
    """Ties parameters of `model` to codebooks: an optimizer of `.centroids` trains the shared values.

    Gradients of a tied parameter are summed over the entries that share a centroid as they arrive (Deep
    Compression, section 3.3) and end in that centroid's gradient, so clipping and gradient scaling see them
    there; assignments stay as they are. After each step of `optimizer` the values are written back. One
    process only. Also a context manager: leaving it releases the parameters.

        sharing = Sharing(model, codebooks)
        optimizer = torch.optim.Adam(sharing.centroids.values())
        sharing.follow(optimizer)
    """

    def __init__(self, model: nn.Module, codebooks: Mapping[str, Codebook]) -> None:
        own = parameters(model)
        self._tied: list[tuple[nn.Parameter, nn.Parameter, tuple[Tensor, ...], Tensor]] = []
        self._codebooks = dict(codebooks)
        self._handles: list[Any] = []
        self.centroids: dict[str, nn.Parameter] = {}
        for name, codebook in codebooks.items():
            if name not in own:
                raise PrunusError(f"{name} is not a parameter of {type(model).__name__}.")
            if codebook.mask.shape != own[name].shape:
                raise PrunusError(f"{name}: codebook {tuple(codebook.mask.shape)} != {tuple(own[name].shape)}.")
            self._tie(name, own[name], codebook)

    def _tie(self, name: str, parameter: nn.Parameter, codebook: Codebook) -> None:
        centroids = nn.Parameter(codebook.centroids.detach().clone())
        places = codebook.mask.nonzero(as_tuple=True)  # an index (kept,) for each dimension
        indices = codebook.indices
        self.centroids[name] = centroids
        self._tied.append((parameter, centroids, places, indices))
        with torch.no_grad():
            parameter.copy_(codebook.decode())
        parameter.grad = None  # what earlier training left there belongs to no centroid

        def sum_gradients(parameter: Tensor) -> None:
            assert parameter.grad is not None
            if centroids.grad is None:
                centroids.grad = torch.zeros_like(centroids)
            centroids.grad.index_add_(0, indices, parameter.grad[places].to(centroids))
            parameter.grad = None

        self._handles.append(parameter.register_post_accumulate_grad_hook(sum_gradients))

    def follow(self, optimizer: torch.optim.Optimizer) -> Self:
        """Write the centroids back into the network after each step of `optimizer`."""
        self._handles.append(optimizer.register_step_post_hook(lambda *_: self.write_back()))
        return self

    @torch.no_grad()
    def write_back(self) -> None:
        """The network's weights take their centroids' present values."""
        for parameter, centroids, places, indices in self._tied:
            parameter[places] = centroids[indices]

    def codebooks(self) -> dict[str, Codebook]:
        """The codebooks with their trained centroids."""
        return {
            name: codebook.with_centroids(self.centroids[name].detach().clone())
            for name, codebook in self._codebooks.items()
        }

    def release(self) -> None:
        """Let go: the parameters keep their values and train freely again."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def state_dict(self) -> dict[str, Tensor]:
        """The centroids, for a checkpoint; the assignments are in the codebooks."""
        return {name: centroids.detach().clone() for name, centroids in self.centroids.items()}

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take centroids that `state_dict` gave, and write them into the network."""
        for name, centroids in self.centroids.items():
            centroids.copy_(state[name])
        self.write_back()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()
