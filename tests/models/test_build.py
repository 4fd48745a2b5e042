import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import nn

from prunus.data import load
from prunus.errors import FormatError, PrunusError
from prunus.models import NAMES, Description, build, describe, from_description
from prunus.models.description import BUILT_IN

# weights (two dimensions or more) and all parameters
PUBLISHED = {
    "lenet-300-100": (266_200, 266_610),  # Han et al. 2016, table 2
    "lenet-5": (430_500, 431_080),  # Han et al. 2016, table 3
    "fc-500": (397_000, 397_000),
    "conv-2": (4_300_992, None),  # 4.3 million: Frankle & Carbin 2019, figure 2
    "conv-4": (2_425_024, None),  # 2.4 million
    "resnet-20": (None, 269_722),  # 0.27 million: He et al. 2016, table 6; the exact counts are those of the
    "resnet-32": (None, 464_154),  # public checkpoints with shortcuts of option A
    "resnet-44": (None, 658_586),
    "resnet-56": (None, 853_018),
    "vgg-16": (None, 14_724_042),
    "vgg-19": (None, 20_035_018),
}


def count(model: nn.Module, least_dimensions: int = 0) -> int:
    return sum(p.numel() for p in model.parameters() if p.ndim >= least_dimensions)


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_counts(name: str) -> None:
    model = build(name)
    weights, parameters = PUBLISHED[name]
    assert weights is None or count(model, 2) == weights
    assert parameters is None or count(model) == parameters


@pytest.mark.parametrize(
    ("depth", "maps"),
    [
        (2, [64, 64]),
        (4, [64, 64, 128, 128]),
        (6, [64, 64, 128, 128, 256, 256]),
        (8, [64, 64, 128, 128, 256, 256, 512, 512]),
    ],
)
def test_conv_layers_as_published(depth: int, maps: list[int]) -> None:
    shapes = [tuple(p.shape) for p in build(f"conv-{depth}").parameters() if p.ndim == 4]
    assert shapes == [(b, a, 3, 3) for a, b in zip([3, *maps], maps, strict=False)]


def test_layers_of_the_lenets_as_published() -> None:
    shapes = {name: tuple(p.shape) for name, p in build("lenet-5").named_parameters() if p.ndim > 1}
    assert shapes == {
        "conv1.weight": (20, 1, 5, 5),
        "conv2.weight": (50, 20, 5, 5),
        "fc1.weight": (500, 800),
        "fc2.weight": (10, 500),
    }
    shapes = {name: tuple(p.shape) for name, p in build("lenet-300-100").named_parameters() if p.ndim > 1}
    assert shapes == {"fc1.weight": (300, 784), "fc2.weight": (100, 300), "fc3.weight": (10, 100)}


@pytest.mark.parametrize("name", BUILT_IN)
def test_logits_of_published_and_adapted_inputs(name: str) -> None:
    for description in (Description.published(name), Description(name, (2, 19, 17), 7)):
        model = description.make().eval()
        images = torch.randn(2, *description.input_shape)
        assert model(images).shape == (2, description.classes)


@pytest.mark.parametrize("name", [n for n in BUILT_IN if n not in ("conv-8", "vgg-16", "vgg-19")])
def test_digits_fit(name: str) -> None:
    data = load("digits")
    model = build(name, data).eval()
    assert model(data.train.normalise(data.train.inputs[:3])).shape == (3, 10)


@pytest.mark.parametrize("name", ["conv-8", "vgg-16", "vgg-19"])
def test_networks_that_digits_are_too_small_for(name: str) -> None:
    with pytest.raises(PrunusError, match=rf"'{name}' needs images of at least 1x16x16 .*, found 1x8x8"):
        build(name, load("digits"))


def test_resnet_shortcut_is_every_second_pixel_between_zeros() -> None:
    model = build("resnet-20").eval()
    block = model.get_submodule("layer2")[0]  # type: ignore[index]
    nn.init.zeros_(block.bn2.weight)
    before = torch.rand(2, 16, 6, 6)
    after = block(before)
    assert torch.equal(after[:, 8:24], before[:, :, ::2, ::2])
    assert after[:, :8].count_nonzero() + after[:, 24:].count_nonzero() == 0


def test_seed_decides_the_start_and_torch_is_left_alone() -> None:
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first, again, other = (build("lenet-300-100", seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    assert not torch.equal(first.get_parameter("fc1.weight"), other.get_parameter("fc1.weight"))


@pytest.mark.parametrize(
    ("name", "layer", "variance"),
    [
        ("lenet-300-100", "fc1", 1 / (3 * 784)),  # uniform within 1 / sqrt(fan in)
        ("conv-4", "convolutions.3", 2 / (9 * 128 + 9 * 128)),
        ("vgg-16", "features.3", 2 / (64 * 9)),
    ],
)
def test_start_has_the_published_variance(name: str, layer: str, variance: float) -> None:
    weights = build(name, seed=0).get_parameter(f"{layer}.weight")
    # of 36,864 numbers and more: the deviation of this ratio is below 0.0075
    assert weights.var().item() / variance == pytest.approx(1, abs=0.04)


@pytest.mark.parametrize("name", BUILT_IN)
def test_description_is_enough_to_build_again(name: str) -> None:
    for description in (Description.published(name), Description(name, (2, 16, 18), 3)):
        assert Description.parse(str(description)) == description
        text = describe(description.make())
        assert text is not None
        again = from_description(text)
        assert describe(again) == text
        shapes = {n: p.shape for n, p in description.make().state_dict().items()}
        assert {n: p.shape for n, p in again.state_dict().items()} == shapes


def test_strangers_are_not_described() -> None:
    assert describe(nn.Linear(2, 2)) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "lenet-6",
        "lenet-5(1x28x28)",
        "lenet-5(1x28x28,10",
        "lenet-5(1x28x28,-1)",
        "lenet-5(1x28x28,100000)",
        "lenet-5\n",
        "os:system",
        "mine.py:net",
        "lenet-5" * 1000,
    ],
)
def test_hostile_descriptions(text: str) -> None:
    with pytest.raises(FormatError, match="no built-in network") as caught:
        from_description(text)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    "text", ["fc-500(99999x99999x99999,9)", "lenet-5(1x3x28,10)", "fc-500(0x1x1,10)", "fc-500(1x1x1,0)"]
)
def test_impossible_sizes_take_no_memory(text: str) -> None:
    with pytest.raises(PrunusError, match=r"would have .* parameters, more than|needs images of at least"):
        from_description(text)


def test_unknown_name_tells_the_nearest() -> None:
    with pytest.raises(PrunusError, match="unknown model 'lenet5', did you mean 'lenet-5'"):
        build("lenet5")
    assert "hf:NAME" in NAMES


FACTORIES = """
import torch
def fitted(input_shape, classes):
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(input_shape[0] * input_shape[1], classes))
def fixed():
    return torch.nn.Linear(64, 10)
def optional(classes=3, width=5):
    return torch.nn.Linear(width, classes)
def needy(colour):
    return torch.nn.Linear(64, 10)
def wrong():
    return 3
number = 3
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(FACTORIES)
    return path


def test_factories_in_a_file(file: Path) -> None:
    data = load("digits")
    fitted = build(f"{file}:fitted", data, seed=3)
    assert fitted.get_parameter("1.weight").shape == (10, 8)
    again = build(f"{file}:fitted", data, seed=3)
    assert torch.equal(fitted.get_parameter("1.weight"), again.get_parameter("1.weight"))
    assert build(f"{file}:fixed").get_parameter("weight").shape == (10, 64)
    assert build(f"{file}:optional", data).get_parameter("weight").shape == (10, 5)
    assert build(f"{file}:optional").get_parameter("weight").shape == (3, 5)
    assert describe(fitted) is None


@pytest.mark.parametrize(
    ("factory", "sentence"),
    [
        ("fitted", "needs 'input_shape', which only data can tell"),
        ("needy", "needs the argument 'colour', only input_shape and classes can be given"),
        ("wrong", "gave a int, expected a torch.nn.Module"),
        ("number", "is a int, expected a function or class"),
        ("absent", "has no 'absent'"),
    ],
)
def test_bad_factories(file: Path, factory: str, sentence: str) -> None:
    with pytest.raises(PrunusError, match=sentence):
        build(f"{file}:{factory}")


def test_factory_in_a_package() -> None:
    assert isinstance(build("torch.nn:Flatten"), nn.Flatten)
    with pytest.raises(PrunusError, match="module 'no_such_package' cannot be imported"):
        build("no_such_package:net")


def test_timm_by_a_stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {}

    def create_model(name: str, **arguments: object) -> nn.Module:
        asked[name] = arguments
        return nn.Identity()

    timm = ModuleType("timm")
    timm.create_model = create_model  # type: ignore[attr-defined]
    timm.is_model = lambda name: name == "resnet18"  # type: ignore[attr-defined]
    timm.list_models = lambda _pattern: ["resnet18", "resnet34"]  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "timm", timm)
    assert isinstance(build("timm:resnet18", load("digits")), nn.Identity)
    assert asked == {"resnet18": {"pretrained": False, "in_chans": 1, "num_classes": 10}}
    with pytest.raises(PrunusError, match="unknown timm model 'resnet19', did you mean 'resnet18'"):
        build("timm:resnet19")


@pytest.mark.parametrize(("name", "module"), [("timm:resnet18", "timm"), ("hf:microsoft/resnet-18", "transformers")])
def test_missing_library_is_named(monkeypatch: pytest.MonkeyPatch, name: str, module: str) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(PrunusError, match=rf"needs {module}: pip install 'prunus\["):
        build(name)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_transformers_model_gives_logits_under_its_own_names(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    small = transformers.ResNetConfig(
        num_channels=1, embedding_size=4, hidden_sizes=[4, 8], depths=[1, 1], layer_type="basic", num_labels=5
    )
    original = transformers.ResNetForImageClassification(small)
    original.save_pretrained(tmp_path)
    data = load("digits")
    model = build(f"hf:{tmp_path}", data, seed=1).eval()
    images = data.train.normalise(data.train.inputs[:2])
    assert model(images).shape == (2, 10)
    assert set(model.state_dict()) == set(original.state_dict())


def test_transformers_model_that_is_not_there(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    with pytest.raises(PrunusError, match="cannot be loaded"):
        build(f"hf:{tmp_path}/nothing")
