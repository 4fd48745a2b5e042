"""Patterns against explicit loops over entries."""

import pytest
import torch

from prunus.errors import PrunusError
from prunus.pattern import block, channel, column, element, head, whole
from prunus.testing.pattern import check_pattern


@pytest.mark.parametrize(
    "pattern",
    [element, block(4, 4), block(2, 1), channel(0), channel(1), channel(-1), head(2), head(4, 0), column, whole],
    ids=str,
)
def test_every_pattern_keeps_the_contract(pattern):
    check_pattern(pattern)


def test_a_block_covers_its_rows_and_columns():
    kept = torch.tensor([[True, False], [False, True]])
    assert block(2, 3).entries(kept, torch.Size((4, 6))).int().tolist() == [
        [1, 1, 1, 0, 0, 0],
        [1, 1, 1, 0, 0, 0],
        [0, 0, 0, 1, 1, 1],
        [0, 0, 0, 1, 1, 1],
    ]


def test_a_filter_is_one_output_channel():
    score = torch.arange(24.0).reshape(2, 3, 2, 2)
    assert channel(0).atoms(score).tolist() == [sum(range(12)), sum(range(12, 24))]
    kept = channel(1).entries(torch.tensor([True, False, True]), score.shape)
    assert kept[:, 1].any().item() is False
    assert kept[:, [0, 2]].all().item() is True


def test_a_column_is_one_place_of_all_filters():
    score = torch.arange(24.0).reshape(2, 3, 2, 2)
    assert column.atoms(score).tolist() == [2 * place + 12 for place in range(12)]
    kept = column.entries(torch.arange(12) == 5, score.shape)
    assert kept.nonzero().tolist() == [[0, 1, 0, 1], [1, 1, 0, 1]]


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        (block(3, 4), r"blocks of 3 x 4 do not divide a 8 x 36 matrix \(shape \(8, 4, 3, 3\)\)"),
        (channel(4), r"channel\(4\) needs that dimension"),
        (head(3), "heads of 3 do not divide 8 channels"),
    ],
)
def test_what_does_not_divide_is_refused(pattern, message):
    with pytest.raises(PrunusError, match=message):
        pattern.atoms(torch.zeros(8, 4, 3, 3))


def test_a_pattern_that_loses_entries_breaks_the_contract():
    class Half:
        def atoms(self, score):
            return score[: len(score) // 2]

        def entries(self, kept, shape):
            return torch.cat([kept, torch.zeros_like(kept)])

    with pytest.raises(AssertionError, match="belong to no atom"):
        check_pattern(Half())
