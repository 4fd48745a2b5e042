import os
import socket
from pathlib import Path

import pytest
import torch

from prunus.data import load
from prunus.data.dataset import Split
from prunus.data.named import _channel_moments, _normalisation, _set_apart
from prunus.errors import PrunusError


def test_digits_are_those_of_scikit_learn_each_in_one_part() -> None:
    from sklearn.datasets import load_digits

    data = load("digits")
    parts = [data.train, data.validation, data.test()]
    assert [len(part) for part in parts] == [1350, 150, 297]

    def rows(images: torch.Tensor, labels: torch.Tensor) -> list[tuple[int, ...]]:
        return sorted((*image.flatten().tolist(), label) for image, label in zip(images, labels.tolist(), strict=True))

    bunch = load_digits()
    found = rows(torch.cat([p.inputs for p in parts]), torch.cat([p.labels for p in parts]))
    assert found == rows(torch.from_numpy(bunch.images).to(torch.uint8), torch.from_numpy(bunch.target))


def test_split_never_changes() -> None:
    data = load("digits")
    assert [int(part.inputs.sum()) for part in (data.train, data.validation, data.test())] == [
        421744,
        47354,
        92620,
    ]


def test_grey_images_are_scaled_and_their_background_stays_zero() -> None:
    train = load("digits").train
    inputs = train.normalise(train.inputs)
    assert (inputs.min().item(), inputs.max().item()) == (0, 1)
    assert torch.equal(inputs == 0, train.inputs == 0)


def test_colours_get_zero_mean_and_unit_variance() -> None:
    images = torch.randint(0, 200, (50, 3, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    split = Split(images, torch.zeros(50, dtype=torch.long), *_normalisation(images))
    channels = split.normalise(images).double().transpose(0, 1).flatten(1)
    assert channels.mean(1).tolist() == pytest.approx([0, 0, 0], abs=1e-6)
    assert channels.std(1, correction=0).tolist() == pytest.approx([1, 1, 1], abs=1e-6)


def test_moments_per_channel_against_torch() -> None:
    images = torch.randint(0, 256, (7, 3, 5, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    images[:, 2] = 9
    mean, deviation = _channel_moments(images)
    channels = images.double().transpose(0, 1).flatten(1)
    torch.testing.assert_close(mean.double(), channels.mean(1), rtol=1e-6, atol=0)
    expected = channels.std(1, correction=0)
    expected[2] = 1  # a constant channel is left at zero, not divided by zero
    torch.testing.assert_close(deviation.double(), expected, rtol=1e-6, atol=0)


def test_normalising_leaves_floats_as_they_were() -> None:
    train = load("digits").train
    raw = train.inputs[:5].float()
    assert train.normalise(raw).equal(train.normalise(train.inputs[:5]))
    assert raw.equal(train.inputs[:5].float())


@pytest.mark.parametrize(("total", "apart"), [(10, 3), (60_000, 5000), (7, 7), (5, 0)])
def test_set_apart_takes_the_asked_number_of_rows_from_everywhere(total: int, apart: int) -> None:
    rest, chosen = (part.tolist() for part in _set_apart(total, apart))
    assert sorted(rest + chosen) == list(range(total))
    assert len(chosen) == apart
    assert rest == sorted(rest)
    assert chosen == sorted(chosen)
    for tenth in range(10 if total > 1000 else 0):  # 500 of each tenth, give or take 5 standard deviations
        assert abs(sum(tenth * total <= 10 * row < (tenth + 1) * total for row in chosen) - apart / 10) < 110


def test_unknown_name_tells_the_nearest() -> None:
    with pytest.raises(PrunusError, match="unknown data 'minst', did you mean 'mnist'"):
        load("minst")


def test_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(PrunusError, match=r"data folder '.*nothing' does not exist"):
        load(tmp_path / "nothing")


def test_set_that_is_not_here_and_cannot_be_fetched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import huggingface_hub

    def refuse(*_: object, **__: object) -> str:
        raise FileNotFoundError("no connection")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    monkeypatch.setenv("PRUNUS_DATA", str(tmp_path))
    with pytest.raises(PrunusError, match=r"'cifar100' is not in \$PRUNUS_DATA \(.*'uoft-cs/cifar100'.*no conn"):
        load("cifar100")


@pytest.mark.skipif(
    not (Path(os.environ.get("PRUNUS_DATA", "")) / "mnist").is_dir() or "PRUNUS_DATA" not in os.environ,
    reason="MNIST is not in $PRUNUS_DATA",
)
def test_mnist_from_its_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    data = load("mnist")
    assert (len(data.train), len(data.validation), len(data.test())) == (55_000, 5_000, 10_000)
    assert data.input_shape == (1, 28, 28)
    # published for the 60,000: mean 0.1307, deviation 0.3081
    inputs = data.train.normalise(data.train.inputs)
    assert inputs.mean().item() == pytest.approx(0.1307, abs=1e-3)
    assert inputs.std().item() == pytest.approx(0.3081, abs=1e-3)
    # published: the test set holds 980 zeros and 1135 ones
    assert data.test().labels.bincount().tolist()[:2] == [980, 1135]
