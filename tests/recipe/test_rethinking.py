"""Fine-tuning against training from scratch, beside networks cut, held and trained by hand."""

from dataclasses import dataclass, replace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from prunus.errors import PrunusError
from prunus.holding import hold
from prunus.laboratory import Task
from prunus.mask import Mask
from prunus.recipe.lottery_ticket import at_last_rate
from prunus.recipe.rethinking import Plan, architecture, rethink, same_budget
from prunus.recipe.tables import Row
from prunus.report.page import write_page
from prunus.settings import Settings, make_optimizer
from prunus.store import Store
from prunus.training import train

from .cutting import DIGITS, TASK, accuracy, cut, multiplications, parameters, state, trained

SETTINGS = Settings(epochs=4, batch=50, optimizer="sgd", learning_rate=0.1, weight_decay=1e-4, decay="steps")
TUNING = replace(at_last_rate(SETTINGS), epochs=1)
CHANNELS = Plan(TASK, SETTINGS, TUNING, density=0.8, strength=1e-3, seeds=(0, 1))
WEIGHTS = replace(CHANNELS, units="weights", density=0.4)
PER_EPOCH = 27

pytestmark = pytest.mark.usefixtures("one_thread")


@dataclass(frozen=True)
class Made:
    store: Store
    rows: dict[str, Row]


def made_of(plan: Plan, folder) -> Made:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    store = Store(folder)
    rows = rethink(plan, store)
    torch.set_num_threads(threads)
    return Made(store, {row.name: row for row in rows})


@pytest.fixture(scope="module")
def channels(tmp_path_factory) -> Made:
    return made_of(CHANNELS, tmp_path_factory.mktemp("channels"))


@pytest.fixture(scope="module")
def held(tmp_path_factory) -> Made:
    return made_of(WEIGHTS, tmp_path_factory.mktemp("weights"))


def slimmed_by_hand(seed: int):
    def loss(network, inputs, labels):
        scales = network.norm1.weight.abs().sum() + network.norm2.weight.abs().sum()
        return F.cross_entropy(network(inputs), labels) + 1e-3 * scales

    model = TASK.network(seed)
    train(model, DIGITS, SETTINGS, seed=seed, loss=loss)
    return model


@pytest.mark.parametrize("number", [0, 1])
def test_removed_channels_fine_tuned_and_from_scratch(channels, number):
    found = architecture(CHANNELS, number)
    model = slimmed_by_hand(number)
    assert channels.rows["dense"].figures["accuracy"][number] == pytest.approx(accuracy(model))
    values = torch.cat([model.norm1.weight, model.norm2.weight]).abs().tolist()
    largest = sorted(sorted(range(20), key=lambda k: -values[k])[:16])
    kept = [k for k in largest if k < 8], [k - 8 for k in largest if k >= 8]
    assert 0 < len(kept[0]) < 8 or 0 < len(kept[1]) < 12
    small = cut(model.state_dict(), *kept)
    tuned = trained(small, TUNING, number)
    assert channels.rows["fine-tuned"].figures["accuracy"][number] == pytest.approx(accuracy(small))

    counts = len(kept[0]), len(kept[1])
    saving = multiplications(8, 12) / multiplications(*counts)
    fresh = channels.store.result(found.fresh)
    assert fresh.weights["conv2.weight"].shape[:2] == counts[::-1]
    for name, epochs in {"scratch-E": 4, "scratch-B": round(4 * min(saving, 2))}.items():
        scratch = cut(state(fresh), list(range(counts[0])), list(range(counts[1])))
        trained(scratch, replace(SETTINGS, epochs=epochs), number)
        assert channels.rows[name].figures["accuracy"][number] == pytest.approx(accuracy(scratch))
        assert channels.rows[name].figures["steps"][number] == epochs * PER_EPOCH
        part = epochs / 4 / saving
        assert channels.rows[name].figures["training"][number] == pytest.approx(part)
    assert channels.rows["fine-tuned"].figures["training"][number] == pytest.approx(1 / 4 / saving)
    for name in ("fine-tuned", "scratch-E", "scratch-B"):
        assert channels.rows[name].figures["parameters"][number] == parameters(*counts)
        assert channels.rows[name].figures["multiplications"][number] == multiplications(*counts)
    assert tuned["norm1.weight"].shape == (counts[0],)


@pytest.mark.parametrize("number", [0, 1])
def test_held_weights_fine_tuned_and_from_scratch(held, number):
    dense = TASK.network(number)
    weights = trained(dense, SETTINGS, number)
    assert held.rows["dense"].figures["accuracy"][number] == pytest.approx(accuracy(dense))
    names = ("conv1.weight", "conv2.weight", "fc.weight")
    everything = torch.cat([weights[name].abs().flatten() for name in names])
    total = len(everything)
    least = everything.sort(descending=True).values[round(0.4 * total) - 1]
    mask = Mask({name: weights[name].abs() >= least for name in names})
    assert held.store.result(architecture(WEIGHTS, number).mask) == mask

    kept = {name: int(entries.sum()) for name, entries in mask.items()}
    count = 64 * kept["conv1.weight"] + 16 * kept["conv2.weight"] + kept["fc.weight"]
    longer = replace(SETTINGS, epochs=round(4 * min(2, multiplications(8, 12) / count)))
    for name, start, settings in (
        ("fine-tuned", dense.state_dict(), TUNING),
        ("scratch-E", TASK.network(1_000_000 + number).state_dict(), SETTINGS),
        ("scratch-B", TASK.network(1_000_000 + number).state_dict(), longer),
    ):
        model = TASK.network()
        model.load_state_dict(start)
        optimizer = make_optimizer(model, settings)
        with hold(optimizer, model, mask):
            train(model, DIGITS, settings, seed=number, optimizer=optimizer)
        assert held.rows[name].figures["accuracy"][number] == pytest.approx(accuracy(model)), name
        assert held.rows[name].figures["multiplications"][number] == count
        assert held.rows[name].figures["parameters"][number] == parameters(8, 12) - total + mask.kept


def test_fresh_weights_have_the_spread_that_their_own_size_asks_for(channels):
    """He et al. 2015: a layer that reads fewer channels starts with larger weights."""
    for seed in CHANNELS.seeds:
        fresh = channels.store.result(architecture(CHANNELS, seed).fresh).weights
        for name in ("conv1.weight", "conv2.weight"):
            fan = fresh[name][0].numel()
            assert fresh[name].std().item() == pytest.approx((2 / fan) ** 0.5, rel=0.25)
        assert not fresh["fc.bias"].any()


def test_asked_twice_it_trains_nothing(tmp_path, steps):
    plan = replace(CHANNELS, seeds=(0,))
    rows = rethink(plan, Store(tmp_path))
    longest = int(rows[3].figures["steps"][0])
    # dense, fine-tuned, scratch-E, scratch-B, which is scratch-E again where little was saved
    expected = (4 + 1 + 4) * PER_EPOCH + (longest if longest != 4 * PER_EPOCH else 0)
    assert steps() == expected
    assert rethink(plan, Store(tmp_path)) == rows
    assert steps() == expected
    assert len(Store(tmp_path).studies()) == 1


def test_the_page_shows_the_table(channels, tmp_path):
    (study,) = channels.store.studies()
    assert [row[0] for row in study["rows"]] == ["dense", "fine-tuned", "scratch-E", "scratch-B"]
    write_page(channels.store, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "80 % of the channels kept" in page
    for row in channels.rows.values():
        assert all(channels.store.specification_of(run) for run in row.runs)


@given(st.integers(1, 200), st.floats(0.5, 10))
def test_the_same_budget_is_paid_for_in_epochs_or_steps(long, saving):
    for unit in ("epochs", "steps"):
        settings = Settings(**{unit: long})
        found = same_budget(settings, saving)
        times = getattr(found, unit) / long
        assert 1 <= times <= 2
        if 1 <= saving <= 2:
            assert abs(getattr(found, unit) - long * saving) <= 0.5
        elif saving > 2:
            assert times == 2
        assert replace(found, **{unit: long}) == settings


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"units": "filters"}, "unknown unit 'filters'"),
        ({"density": 1.5}, "density 1.5 is outside"),
        ({"strength": -0.1}, "strength -0.1 of the penalty is negative"),
        ({"seeds": ()}, "at least one seed"),
        ({"task": Task.of("lenet-300-100", "digits")}, "Sequential has no BatchNorm scales"),
    ],
)
def test_plans_that_cannot_be_are_refused(changes, sentence, steps):
    with pytest.raises(PrunusError, match=sentence):
        replace(CHANNELS, **changes)
    assert steps() == 0


def test_weights_need_no_batchnorm():
    plan = replace(WEIGHTS, task=Task.of("lenet-300-100", "digits"))
    assert architecture(plan, 0).mask is not None
