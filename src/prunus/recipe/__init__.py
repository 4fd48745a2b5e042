"""Whole papers, each one short readable function."""

from prunus.recipe.deep_compression import Compression, Plan, Stage, deep_compression

__all__ = ["Compression", "Plan", "Stage", "deep_compression"]
