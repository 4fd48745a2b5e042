"""Weights that are products of two thin matrices: fewer parameters with no zeros among them."""

from prunus.low_rank.factors import LowRankConv2d, LowRankLinear, split
from prunus.low_rank.lstm import LowRankLSTM
from prunus.low_rank.network import low_rank, low_rank_like

__all__ = ["LowRankConv2d", "LowRankLSTM", "LowRankLinear", "low_rank", "low_rank_like", "split"]
