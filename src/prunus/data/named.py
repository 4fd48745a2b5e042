"""From the name of a data set, or a folder, to its `Data`."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from prunus.data import cache
from prunus.data.augment import Affine, Shift
from prunus.data.dataset import Augment, Data, Split
from prunus.data.folder import Images, find_splits, fingerprint, read
from prunus.errors import PrunusError, unknown


@dataclass(frozen=True)
class _Known:
    """Where a named set lives on the hub, and the augmentation that suits it."""

    repository: str
    augment: Augment


_KNOWN = {
    "mnist": _Known("ylecun/mnist", Affine()),
    "fashion-mnist": _Known("zalando-datasets/fashion_mnist", Shift(2, mirror=True)),
    "cifar10": _Known("uoft-cs/cifar10", Shift(4, mirror=True)),
    "cifar100": _Known("uoft-cs/cifar100", Shift(4, mirror=True)),
}
NAMES = ("digits", *_KNOWN)


def load(name: str | os.PathLike[str]) -> Data:
    """The data set called `name` (one of `NAMES`), or the one in the folder `name`.

    A named set is taken from `$PRUNUS_DATA/<name>` where that folder exists, without touching the network,
    else from the hub. A set without a validation split gives up 5,000 training images, or every tenth if it
    has fewer than 50,000: the same ones always, drawn from the whole training part. Raises `PrunusError`
    for a name that is unknown, a folder that has no usable train or test split, and a set that cannot be
    fetched.

    >>> digits = load("digits")
    >>> digits.input_shape, len(digits.train), len(digits.validation), len(digits.test())
    ((1, 8, 8), 1350, 150, 297)
    """
    name = os.fspath(name)
    if name == "digits":
        return _load_digits()
    if name in _KNOWN:
        known = _KNOWN[name]
        return _load_folder(name, _local(name) or _fetch(name, known.repository), known.augment)
    if Path(name).is_dir():
        return _load_folder(name, Path(name), None)
    if os.sep in name or name.startswith("."):
        raise PrunusError(f"data folder '{name}' does not exist.")
    raise unknown("data", name, [*NAMES, "or a folder"])


def _local(name: str) -> Path | None:
    home = os.environ.get("PRUNUS_DATA")
    folder = Path(home or ".") / name
    return folder if home and folder.is_dir() else None


def _fetch(name: str, repository: str) -> Path:
    """The folder with the parquet files of `repository`, fetched from the hub where it is not here yet."""
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise PrunusError(f"data '{name}' needs the hub's library: pip install 'prunus[lab]'.") from error
    fetch = partial(snapshot_download, repository, repo_type="dataset", allow_patterns="*.parquet")
    try:
        try:
            return Path(fetch(local_files_only=True))
        except FileNotFoundError:
            return Path(fetch())
    except (OSError, ValueError) as error:
        home = os.environ.get("PRUNUS_DATA") or "not set"
        raise PrunusError(
            f"data '{name}' is not in $PRUNUS_DATA ({home}), and the hub's '{repository}' cannot be fetched: "
            f"{str(error).splitlines()[0]}."
        ) from error


def _load_folder(name: str, folder: Path, augment: Augment | None) -> Data:
    splits = find_splits(folder)
    for needed in ("train", "test"):
        if needed not in splits:
            raise PrunusError(
                f"data folder '{folder}' has no {needed} split, found {', '.join(splits) or 'none'}; "
                f"expected files like {needed}-00000-of-00001.parquet or {needed}/<class>/<picture>.png."
            )

    def images(split: str) -> Images:
        return cache.remembered(fingerprint(splits[split]), partial(read, splits[split]))

    train = images("train")

    def aligned(split: str) -> tuple[Tensor, Tensor]:
        return _aligned(folder, split, images(split), train)

    validation = aligned("validation") if "validation" in splits else None
    files = [path for split in ("train", "validation") for path in splits.get(split, [])]
    return _assemble(
        name,
        (train.inputs, train.labels),
        validation,
        train.classes,
        augment,
        fingerprint(files),
        partial(aligned, "test"),
    )


def _aligned(folder: Path, split: str, images: Images, train: Images) -> tuple[Tensor, Tensor]:
    """Inputs and labels of `images`, with the labels that the same classes have in `train`."""
    shape, expected = tuple(images.inputs.shape[1:]), tuple(train.inputs.shape[1:])
    if shape != expected:
        raise PrunusError(f"data folder '{folder}' has {split} images of shape {shape}, train has {expected}.")
    if strangers := sorted(set(images.classes) - set(train.classes)):
        raise PrunusError(
            f"data folder '{folder}' has classes in {split} that train does not have: {', '.join(strangers[:3])}."
        )
    in_train = torch.tensor([train.classes.index(name) for name in images.classes])
    return images.inputs, in_train[images.labels]


def _load_digits() -> Data:
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise PrunusError("data 'digits' needs scikit-learn: pip install 'prunus[lab]'.") from error
    bunch = load_digits()
    inputs = torch.from_numpy(bunch.images).to(torch.uint8)[:, None]  # (1797, 1, 8, 8), grey from 0 to 16
    labels = torch.from_numpy(bunch.target).long()
    rest, test = _set_apart(len(labels), 297)
    return _assemble(
        "digits",
        (inputs[rest], labels[rest]),
        None,
        tuple(str(digit) for digit in range(10)),
        Shift(1),
        "scikit-learn digits",
        lambda: (inputs[test], labels[test]),
    )


def _assemble(
    name: str,
    train: tuple[Tensor, Tensor],
    validation: tuple[Tensor, Tensor] | None,
    classes: tuple[str, ...],
    augment: Augment | None,
    fingerprint: str,
    read_test: Callable[[], tuple[Tensor, Tensor]],
) -> Data:
    inputs, labels = train
    if validation is None:
        rest, apart = _set_apart(len(labels), min(5000, len(labels) // 10))
        validation = inputs[apart], labels[apart]
        inputs, labels = inputs[rest], labels[rest]
    offset, scale = _normalisation(inputs)
    return Data(
        name=name,
        train=Split(inputs, labels, offset, scale),
        validation=Split(*validation, offset, scale),
        classes=classes,
        augment=augment,
        fingerprint=fingerprint,
        read_test=read_test,
    )


def _set_apart(total: int, apart: int) -> tuple[Tensor, Tensor]:
    """Rows 0 to `total` in two: the rest, and `apart` rows drawn once and for ever.

    Drawn, not taken at even distances: MNIST alternates between its two sources of handwriting, and every twelfth
    row is twice as hard as the average one.
    """
    order = torch.randperm(total, generator=torch.Generator().manual_seed(0))
    return order[apart:].sort().values, order[:apart].sort().values


def _normalisation(inputs: Tensor) -> tuple[Tensor, Tensor]:
    """What to subtract from each channel, and what to divide it by: (C,), (C,).

    Colours get zero mean and unit variance. Grey images are only scaled to 0..1, as in the papers on LeNets: their
    background stays zero, so a first layer's weights at pixels that never light up can all be pruned.
    """
    if inputs.shape[1] == 1:
        return torch.zeros(1), inputs.max().clamp_min(1).float().reshape(1)
    return _channel_moments(inputs)


def _channel_moments(inputs: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel, exact, from the counts of the 256 byte values: (C,),
    (C,)."""
    values = torch.arange(256, dtype=torch.float64)
    counts = torch.stack([torch.bincount(channel.flatten(), minlength=256) for channel in inputs.unbind(1)]).double()
    shares = counts / counts.sum(1, keepdim=True)
    mean = shares @ values
    deviation = (shares @ values.square() - mean.square()).clamp_min(0).sqrt()
    return mean.float(), torch.where(deviation > 0, deviation, 1.0).float()
