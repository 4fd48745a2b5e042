"""Decoded splits kept on disk, because decoding 70,000 pictures takes seconds and reading them takes
milliseconds."""

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import safetensors
import torch
from safetensors.torch import save_file

from prunus.data.folder import Images
from prunus.files import written_whole

VERSION = "1"  # of the decoding: another version never meets these files


def folder() -> Path:
    """`$PRUNUS_CACHE`, or `~/.cache/prunus` where that is not set."""
    named = os.environ.get("PRUNUS_CACHE")
    return Path(named) if named else Path.home() / ".cache" / "prunus"


def remembered(key: str, read: Callable[[], Images]) -> Images:
    """The images kept under `key`, or those of `read()`, which are then kept.

    What is kept is verified; a file that fails, or a folder that cannot be written, costs only time.
    """
    path = folder() / "data" / f"{key}-{VERSION}.safetensors"
    kept = _load(path)
    if kept is not None:
        return kept
    images = read()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(path) as temporary:
            about = {"classes": json.dumps(images.classes), "checksum": _checksum(images)}
            save_file({"inputs": images.inputs, "labels": images.labels}, temporary, metadata=about)
    except OSError:
        return images
    return images


def _load(path: Path) -> Images | None:
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            about = file.metadata()
            images = Images(file.get_tensor("inputs"), file.get_tensor("labels"), tuple(json.loads(about["classes"])))
    except (OSError, KeyError, TypeError, ValueError, safetensors.SafetensorError):
        return None
    return images if about.get("checksum") == _checksum(images) else None


def _checksum(images: Images) -> str:
    digest = hashlib.sha256()
    for tensor in (images.inputs, images.labels):
        digest.update(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.contiguous().view(torch.uint8).numpy().data)
    return digest.hexdigest()
