"""Products straight from packed entries, beside dense ones in double precision."""

import os
import platform
import subprocess
import sys
from itertools import product

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from prunus.codebook import Codebook
from prunus.errors import PrunusError
from prunus.kernel.codebook import PackedMatrix
from prunus.kernel.codebook_linear import CodebookLinear
from prunus.kernel.codebook_product import FEW, MANY
from prunus.kernel.vectors import LANES
from prunus.quantise import share

NARROW, WIDE, BYTES, BESIDE = range(4)  # places in LAYOUTS


def sparse(high, wide, density, levels):
    """A matrix of that density whose entries have so many different values, or all different ones."""
    values = torch.randn(high, wide) if levels is None else torch.randn(levels)[torch.randint(levels, (high, wide))]
    return values * (torch.rand(high, wide) < density)


def dense(weight, inputs, bias=None):
    return F.linear(inputs.double(), weight.double(), None if bias is None else bias.double()).float()


@pytest.mark.parametrize(
    ("high", "wide", "density", "levels", "layout"),
    [
        (100, 300, 0.2, 32, NARROW),
        (16, 31, 0.5, 31, NARROW),
        (33, 400, 1.0, 5, NARROW),
        (50, 9000, 0.01, 31, WIDE),
        (20, 30, 0.5, 7, WIDE),
        (40, 700, 0.1, 33, BYTES),
        (40, 700, 0.5, 255, BYTES),
        (40, 700, 0.1, None, BESIDE),
        (17, 70_000, 0.001, None, BESIDE),
    ],
)
def test_every_layout_gives_what_the_dense_weight_gives(high, wide, density, levels, layout):
    torch.manual_seed(0)
    weight, bias = sparse(high, wide, density, levels), torch.randn(high)
    matrix = PackedMatrix.pack(weight)
    assert matrix.layout == layout
    assert torch.equal(matrix.decode(), weight)
    for batch in (1, 2, 3, 4, 11, MANY, 3 * LANES - 1, 7 * LANES):
        inputs = torch.randn(batch, wide)
        assert torch.allclose(CodebookLinear(matrix, bias)(inputs), dense(weight, inputs, bias), atol=1e-3)


@given(
    high=st.integers(1, 40),
    wide=st.integers(1, 200),
    density=st.floats(0, 1),
    levels=st.sampled_from([1, 31, 32, 33, 255, 256, None]),
    batch=st.sampled_from([3, MANY]),
    seed=st.integers(0, 1 << 20),
)
def test_any_matrix_comes_back_and_multiplies(high, wide, density, levels, batch, seed):
    torch.manual_seed(seed)
    weight, inputs = sparse(high, wide, density, levels), torch.randn(batch, wide)
    layer = CodebookLinear(PackedMatrix.pack(weight))
    assert torch.equal(layer.weight, weight)
    assert torch.allclose(layer(inputs), dense(weight, inputs), atol=1e-3)


def test_a_line_by_hand():
    row = torch.zeros(1, 100)
    row[0, [3, 5, 33, 34, 99]] = torch.tensor([2.0, -1.0, -1.0, 2.0, 2.0])  # codes 1, 0, 0, 1, 1 into (-1, 2)
    matrix = PackedMatrix.pack(row)
    assert matrix.layout == NARROW
    # windows of 31 columns: 3 to 33, 34 to 64, and 69 to 99, the last that fits; column 31 of a slot: it is empty
    assert matrix.starts.tolist() == [3, 34, 69]
    empty = 31 << 5
    slots = [(0 << 5 | 1, 2 << 5 | 0, 30 << 5 | 0), (0 << 5 | 1, empty, empty), (30 << 5 | 1, empty, empty)]
    assert matrix.words[:, 0].tolist() == [a | b << 10 | c << 20 for a, b, c in slots]
    assert (matrix.words[:, 1:] == (empty | empty << 10 | empty << 20)).all()
    assert matrix.bounds.tolist() == [0, 3]
    assert matrix.rows.tolist() == [0] + [-1] * 15


def test_a_codebook_is_packed_as_its_decoded_tensor():
    torch.manual_seed(0)
    codebook = share(sparse(30, 80, 0.3, None), levels=32)
    matrix = PackedMatrix.pack(codebook)
    assert matrix.layout == NARROW
    assert torch.equal(matrix.decode(), codebook.decode())
    nothing = Codebook(torch.zeros(0), torch.zeros(0, dtype=torch.long), torch.zeros(4, 50, dtype=torch.bool))
    assert torch.equal(PackedMatrix.pack(nothing).decode(), torch.zeros(4, 50))


def test_a_tenth_of_the_entries_takes_a_fifteenth_of_the_bytes():
    torch.manual_seed(0)
    weight = sparse(512, 4096, 0.09, 32)
    assert PackedMatrix.pack(weight).nbytes < weight.nbytes / 15


@pytest.mark.parametrize("levels", [5, 200, None])
def test_nothing_outside_the_inputs_is_read(levels):
    torch.manual_seed(0)
    for batch, wide in product((3, MANY), (1, 30, 31, 32, 33, 300)):
        weight = sparse(20, wide, 0.5, levels)
        around = torch.full((batch * wide + 64,), torch.nan)
        inputs = around[32 : 32 + batch * wide].view(batch, wide)
        inputs.normal_()
        assert torch.allclose(CodebookLinear(PackedMatrix.pack(weight))(inputs), dense(weight, inputs), atol=1e-4)


@pytest.mark.parametrize("shape", [(0, 40), (40,), (2, 0, 40), (2, 3, 40)])
def test_any_shape_of_inputs(shape):
    weight, bias, inputs = sparse(9, 40, 0.3, 6), torch.randn(9), torch.randn(shape)
    found = CodebookLinear(PackedMatrix.pack(weight), bias)(inputs)
    assert found.shape == (*shape[:-1], 9)
    assert torch.allclose(found, dense(weight, inputs, bias), atol=1e-4)


@pytest.mark.parametrize(("high", "wide", "density"), [(7, 40, 0.0), (0, 40, 0.5), (7, 0, 0.5)])
def test_nothing_kept_leaves_the_bias(high, wide, density):
    layer = CodebookLinear(PackedMatrix.pack(sparse(high, wide, density, 6)), torch.arange(float(high)))
    assert torch.equal(layer(torch.randn(3, wide)), torch.arange(float(high)).expand(3, high))


def test_inputs_need_not_be_contiguous():
    weight = sparse(9, 40, 0.3, 6)
    inputs = torch.randn(40, 10).t()[::2]
    assert torch.allclose(CodebookLinear(PackedMatrix.pack(weight))(inputs), dense(weight, inputs), atol=1e-4)


@pytest.mark.parametrize("levels", [20, 100, None])
def test_a_sample_has_the_same_outputs_in_any_batch_and_on_any_threads(levels, one_thread):
    torch.manual_seed(0)
    layer = CodebookLinear(PackedMatrix.pack(sparse(300, 2000, 0.3, levels)), torch.randn(300))
    inputs = torch.randn(7, 2000)
    together = layer(inputs)
    assert len(layer.words) * 7 > FEW
    torch.set_num_threads(3)
    assert torch.equal(layer(inputs), together)
    assert torch.equal(torch.stack([layer(sample) for sample in inputs]), together)


@pytest.mark.parametrize("levels", [20, 100, None])
def test_samples_of_a_large_batch_and_inputs_that_meet_nothing_leave_each_other_alone(levels, one_thread):
    torch.manual_seed(0)
    weight = sparse(300, 2000, 0.1, levels)
    weight[:, 7], weight[:40] = 0, 0
    layer, inputs = CodebookLinear(PackedMatrix.pack(weight), torch.randn(300)), torch.randn(MANY, 2000)
    wanted = layer(inputs)
    torch.set_num_threads(3)
    inputs[:, 7], inputs[5] = torch.nan, torch.nan
    found = layer(inputs)
    others = torch.arange(MANY) != 5
    assert torch.equal(found[others], wanted[others])
    assert torch.equal(found[5].isnan(), (weight != 0).any(1))


def test_it_is_a_module_like_another(tmp_path):
    linear = nn.Linear(40, 9)
    with torch.no_grad():
        linear.weight *= torch.rand(9, 40) < 0.3
    layer, inputs = CodebookLinear.of(linear), torch.randn(2, 40)
    torch.save(layer, tmp_path / "layer.pt")
    other = CodebookLinear.of(linear)
    other.load_state_dict(layer.state_dict())
    for same in (torch.load(tmp_path / "layer.pt", weights_only=False), other):
        assert torch.equal(same(inputs), layer(inputs))
    assert torch.allclose(layer(inputs), linear(inputs), atol=1e-6)
    assert list(layer.parameters()) == []
    assert f"bytes={layer.matrix.nbytes:,}" in repr(layer)


@pytest.mark.filterwarnings("ignore:.*torch.jit.script_method:DeprecationWarning")  # torch's own imports
def test_compile_and_export_see_through_it():
    layer, inputs = CodebookLinear(PackedMatrix.pack(sparse(9, 40, 0.3, 6)), torch.randn(9)), torch.randn(4, 40)
    network = nn.Sequential(layer, nn.ReLU())
    compiled = torch.compile(network, backend="aot_eager", fullgraph=True)
    assert torch.equal(compiled(inputs), network(inputs))
    exported = torch.export.export(network, (inputs,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    assert torch.equal(exported.module()(inputs[:3]), network(inputs[:3]))
    assert any("codebook_linear" in str(node.target) for node in exported.graph.nodes)


def test_what_it_cannot_do_is_said():
    weight = sparse(9, 40, 0.3, 6)
    layer = CodebookLinear(PackedMatrix.pack(weight))
    with pytest.raises(PrunusError, match=r"given torch\.float64 on cpu, it computes in float32"):
        layer(torch.randn(1, 40, dtype=torch.float64))
    with pytest.raises(PrunusError, match=r"layer of torch\.float64"):
        CodebookLinear(PackedMatrix.pack(weight)).double()(torch.randn(1, 40))
    with pytest.raises(PrunusError, match="do not fit a layer of 40 columns"):
        layer(torch.randn(1, 41))
    with pytest.raises(PrunusError, match="no gradients"):
        layer(torch.randn(1, 40, requires_grad=True))
    with torch.no_grad():
        assert layer(torch.randn(1, 40, requires_grad=True)).shape == (1, 9)
    with pytest.raises(PrunusError, match=r"found torch\.float64 \(9, 40\)"):
        PackedMatrix.pack(weight.double())
    with pytest.raises(PrunusError, match="expected a float32 matrix"):
        PackedMatrix.pack(weight[None])
    with pytest.raises(PrunusError, match="NaN or infinity"):
        PackedMatrix.pack(weight / 0)
    with pytest.raises(PrunusError, match=r"bias torch\.float32 \(8,\), expected float32 \(9,\)"):
        CodebookLinear(PackedMatrix.pack(weight), torch.zeros(8))


OTHER_CPU = """
import torch
from prunus.kernel.codebook import PackedMatrix
from prunus.kernel.codebook_linear import CodebookLinear
for levels in (20, 100, 10**6):
    for density in (0.3, 0.01):
        weight = torch.randint(-levels, levels, (20, 3000)).float() * (torch.rand(20, 3000) < density)
        layer = CodebookLinear(PackedMatrix.pack(weight))
        for batch in (1, 2, 4, 50):
            inputs = torch.randint(-2, 3, (batch, 3000)).float()
            wanted = inputs @ weight.t()
            assert (layer(inputs) - wanted).abs().max() <= 1e-5 * wanted.abs().max()
"""


@pytest.mark.slow
@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="names processors of one kind")
@pytest.mark.parametrize("cpu", ["generic", "haswell"])
def test_other_processors_compute_the_same(cpu, tmp_path):
    environment = {**os.environ, "NUMBA_CPU_NAME": cpu, "NUMBA_CPU_FEATURES": "", "NUMBA_CACHE_DIR": str(tmp_path)}
    subprocess.run([sys.executable, "-c", OTHER_CPU], env=environment, check=True)
