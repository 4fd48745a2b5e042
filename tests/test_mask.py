"""Masks: algebra, exact zeros, files."""

import json
import struct

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import nn

from prunus.errors import FormatError, PrunusError
from prunus.mask import Mask


def drawn(seed=0, density=0.3, shapes=((5, 7), (3, 2, 3, 3))):
    generator = torch.Generator().manual_seed(seed)
    return Mask({f"layer{k}": torch.rand(s, generator=generator) < density for k, s in enumerate(shapes)})


def test_density_is_kept_over_total():
    mask = Mask({"a": torch.tensor([True, False, False]), "b": torch.tensor([True])})
    assert (mask.kept, mask.total, mask.density) == (2, 4, 0.5)
    assert mask.densities() == {"a": 1 / 3, "b": 1.0}


def test_algebra_is_that_of_sets():
    a, b = drawn(0), drawn(1)
    sets = [{(n, tuple(i)) for n in m for i in m[n].nonzero().tolist()} for m in (a, b, a & b, a | b)]
    assert sets[2] == sets[0] & sets[1]
    assert sets[3] == sets[0] | sets[1]
    assert (~a).kept == a.total - a.kept
    assert (a & ~a).kept == 0
    assert a.overlap(b) == len(sets[2]) / len(sets[3])
    assert a.distance(b) == len(sets[0] ^ sets[1]) / a.total
    assert a.distance(a) == 0.0
    assert a == a & a
    assert a != b


def test_masks_of_other_names_are_refused():
    with pytest.raises(PrunusError, match="missing layer0"):
        drawn() & Mask({"other": torch.tensor([True])})


def test_apply_writes_positive_zeros_even_over_nan_and_negative_weights():
    mask = Mask({"w": torch.tensor([True, False, False, False])})
    tree = {"w": torch.tensor([-1.0, -2.0, float("nan"), float("inf")]), "bias": torch.tensor([3.0])}
    applied = mask.apply(tree)
    assert applied["w"].view(torch.int32).tolist() == [
        struct.unpack("<i", struct.pack("<f", -1.0))[0],
        0,
        0,
        0,
    ]
    assert applied["bias"] is tree["bias"]
    assert tree["w"][1] == -2.0


def test_apply_to_a_model_changes_values_only():
    model = nn.Linear(3, 2)
    keys, parameter = list(model.state_dict()), model.weight
    Mask({"weight": torch.eye(2, 3, dtype=torch.bool)}).apply_to(model)
    assert list(model.state_dict()) == keys
    assert model.weight is parameter
    assert (model.weight != 0).tolist() == torch.eye(2, 3, dtype=torch.bool).tolist()


def test_apply_refuses_what_does_not_fit():
    mask = Mask({"w": torch.ones(2, 2, dtype=torch.bool)})
    with pytest.raises(PrunusError, match=r"w: mask \(2, 2\) != tensor \(3, 3\)"):
        mask.apply({"w": torch.zeros(3, 3)})
    with pytest.raises(PrunusError, match="the mask's w not among"):
        mask.apply({"v": torch.zeros(2, 2)})
    with pytest.raises(PrunusError, match="the mask's w not in Linear"):
        mask.apply_to(nn.Linear(2, 2))


def test_a_mask_is_boolean():
    with pytest.raises(PrunusError, match=r"w: a mask is boolean, found torch\.float32"):
        Mask({"w": torch.ones(2)})


def test_of_nonzero_reads_a_pruned_checkpoint():
    model = nn.Linear(2, 2)
    model.weight.data = torch.tensor([[1.0, 0.0], [-0.0, 2.0]])
    assert Mask.of_nonzero(model)["weight"].tolist() == [[True, False], [False, True]]
    assert Mask.dense(model).density == 1.0


def test_shuffling_keeps_each_layers_count_and_moves_entries():
    mask = drawn(density=0.2, shapes=((50, 40), (30, 20)))
    shuffled = mask.shuffled(torch.Generator().manual_seed(5))
    assert shuffled.densities() == mask.densities()
    assert shuffled.distance(mask) == pytest.approx(2 * 0.2 * 0.8, abs=0.05)  # two independent masks
    assert shuffled == mask.shuffled(torch.Generator().manual_seed(5))


@given(st.lists(st.lists(st.integers(0, 5), max_size=3), max_size=4), st.integers(0, 99))
def test_saved_and_loaded_is_equal(tmp_path_factory, shapes, seed):
    path = tmp_path_factory.mktemp("masks") / "mask.safetensors"
    mask = drawn(seed, 0.5, [tuple(shape) for shape in shapes])
    mask.save(path)
    assert Mask.load(path) == mask


def test_a_saved_mask_takes_one_bit_an_entry(tmp_path):
    mask = Mask({"w": torch.ones(1000, 1000, dtype=torch.bool)})
    mask.save(tmp_path / "m.safetensors")
    assert 125_000 <= (tmp_path / "m.safetensors").stat().st_size < 125_300


def test_lowest_bit_comes_first(tmp_path):
    Mask({"w": torch.tensor([True, False, True] + [False] * 6 + [True])}).save(tmp_path / "m")
    assert load_file(tmp_path / "m")["w"].tolist() == [0b101, 0b10]


@pytest.mark.parametrize(
    ("packed", "shapes", "message"),
    [
        ([1], {"w": [9]}, "1 packed bytes cannot hold a mask of shape"),
        ([255], {"w": [3]}, "padding bits are set"),
        ([1], {"w": [-8, -1]}, "is not a shape"),
        ([1], {"w": [2.5]}, "is not a shape"),
        ([1], {"v": [8]}, "is not a mask file"),
        ([1], [8], "is not a mask file"),
    ],
)
def test_hostile_files_are_refused(tmp_path, packed, shapes, message):
    metadata = {"prunus_mask": "1", "shapes": json.dumps(shapes)}
    save_file({"w": torch.tensor(packed, dtype=torch.uint8)}, tmp_path / "m", metadata)
    with pytest.raises(FormatError, match=message):
        Mask.load(tmp_path / "m")


def test_other_files_are_refused(tmp_path):
    (tmp_path / "text").write_text("no mask")
    save_file({"w": torch.zeros(2)}, tmp_path / "weights")
    for name in ("text", "weights"):
        with pytest.raises(FormatError, match="is not a mask file"):
            Mask.load(tmp_path / name)
