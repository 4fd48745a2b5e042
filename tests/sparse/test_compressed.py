"""Linear layers by `torch.sparse`: what the dense layer computes, who runs by them, and how they leave again."""

from collections.abc import Callable
from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn

from prunus import densify, hold, sparsify
from prunus.mask import Mask
from prunus.sparse import CompressedLinear, SparseLinear, choice
from prunus.sparse.choice import Timing
from prunus.sparse.compressed import Rows, is_available

needs_mkl = pytest.mark.skipif(not is_available(torch.ones(1)), reason="torch multiplies by CSR matrices only with MKL")


def some(*shape: int, density: float = 0.3) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(len(shape))) < density


def test_rows_of_entries_in_any_order() -> None:
    kept = some(7, 300)
    kept[3] = False
    entries = kept.flatten().nonzero().flatten()
    entries = entries[torch.randperm(len(entries))]
    values = torch.randn(len(entries))
    dense = torch.zeros(7 * 300)
    dense[entries] = values
    rows = Rows.of(entries, (7, 300))
    assert torch.equal(rows.matrix(values).to_dense(), dense.view(7, 300))
    matrix = rows.matrix(values)
    torch.sparse_csr_tensor(
        matrix.crow_indices(), matrix.col_indices(), matrix.values(), matrix.shape, check_invariants=True
    )


@needs_mkl
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(9, 300), (2, 5, 300), (300,), (0, 300)])
def test_outputs_and_gradients_are_the_dense_layers(shape: tuple[int, ...], bias: bool) -> None:
    torch.manual_seed(0)
    dense = nn.Linear(300, 20, bias=bias)
    kept = some(20, 300)
    dense.weight.data *= kept
    layer = CompressedLinear.of(dense, kept)
    found, wanted = (torch.randn(shape, generator=torch.Generator().manual_seed(1)).requires_grad_() for _ in range(2))
    for inputs, one in ((found, deepcopy(layer)), (wanted, dense)):
        outputs = one(inputs)
        assert outputs.is_contiguous()
        (outputs * torch.arange(20)).sum().backward()
        inputs.outputs, inputs.layer = outputs, one
    assert torch.allclose(found.outputs, wanted.outputs, rtol=1e-4, atol=1e-5)
    assert torch.allclose(found.grad, wanted.grad, rtol=1e-4, atol=1e-4)
    of_weight = dense.weight.grad.flatten()[layer.connections.entries]
    assert torch.allclose(found.layer.values.grad, of_weight, rtol=1e-4, atol=1e-3)
    if bias:
        assert torch.allclose(found.layer.bias.grad, dense.bias.grad, rtol=1e-4, atol=1e-3)


def test_where_torch_sparse_has_no_code_it_is_any_sparse_layer() -> None:
    kept = some(20, 300)
    dense = nn.Linear(300, 20).double()
    dense.weight.data *= kept
    inputs = torch.randn(5, 300, dtype=torch.float64)
    assert torch.allclose(CompressedLinear.of(dense, kept)(inputs), dense(inputs))


class Apart(nn.Module):
    """Two layers that hand lanes on, and one that looks at all features before it."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2, self.norm, self.fc3 = (
            nn.Linear(12, 16),
            nn.Linear(16, 16),
            nn.LayerNorm(16),
            nn.Linear(16, 5),
        )

    def forward(self, inputs: Tensor) -> Tensor:
        return self.fc3(self.norm(self.fc2(self.fc1(inputs).relu())))


@needs_mkl
def test_the_faster_of_both_runs_where_batches_come_and_go(monkeypatch: pytest.MonkeyPatch) -> None:
    def fastest(model: nn.Module, layers: dict[str, Tensor], example: Tensor) -> object:
        timings = {"fc1": Timing(3, 2, 1, 1), "fc2": Timing(3, 2, 1, 1.5), "fc3": Timing(3, 2, 1, 1)}
        return dict(layers), timings

    monkeypatch.setattr("prunus.sparse.network.fastest", fastest)
    torch.manual_seed(0)
    model = Apart()
    mask = Mask({f"{n}.weight": some(*model.get_submodule(n).weight.shape) for n in ("fc1", "fc2", "fc3")})
    twin, inputs = deepcopy(model), torch.randn(20, 12)
    optimizers = [torch.optim.SGD(one.parameters(), lr=0.05, momentum=0.9) for one in (model, twin)]
    with hold(optimizers[1], twin, mask):
        found = sparsify(model, mask, example=inputs, optimizer=optimizers[0])
        assert found.compressed == ("fc3",)
        assert "fc3: sparse by torch.sparse (dense 3e+03 ms" in str(found)
        assert [type(layer) for layer in (model.fc1, model.fc2, model.fc3)] == [SparseLinear] * 2 + [CompressedLinear]
        for _ in range(4):
            for network, optimizer in zip((model, twin), optimizers, strict=True):
                optimizer.zero_grad()
                network(inputs).square().mean().backward()
                optimizer.step()
    assert torch.allclose(model(inputs), twin(inputs), rtol=1e-4, atol=1e-5)
    densify(model, optimizer=optimizers[0])
    assert str(model) == str(twin)
    assert torch.allclose(model.fc3.weight, twin.fc3.weight, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("timing", "faster"),
    [
        (Timing(3, 2, 1, 1.9), True),
        (Timing(3, 2, 1, 2.1), False),
        (Timing(1.5, 2, 1, 1.9), False),
        (Timing(3, 2, 1), False),
    ],
)
def test_torch_sparse_has_to_win_over_both(timing: Timing, faster: bool) -> None:
    assert timing.is_faster_compressed == faster


@needs_mkl
def test_linear_layers_are_measured_by_torch_sparse_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def medians(steps: list[Callable[[], None]]) -> list[float]:
        for step in steps:
            step()
        return [float(number) for number in range(1, len(steps) + 1)]

    monkeypatch.setattr(choice, "_medians", medians)
    monkeypatch.setattr(choice, "_KNOWN", {})
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(8, 3))
    mask = Mask({"0.weight": some(2, 1, 3, 3), "2.weight": some(3, 8)})
    timings = sparsify(model, mask, example=torch.randn(2, 1, 4, 4)).timings
    assert timings == {"0": Timing(1, 2, 3), "2": Timing(1, 2, 3, 4)}
    assert str(timings["2"]).endswith("on lanes, torch.sparse 4e+03 ms")
    assert "torch.sparse" not in str(timings["0"])
