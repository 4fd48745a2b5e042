"""A search for tickets with its controls, against the same search by hand, and what it leaves in the store."""

from collections import Counter
from dataclasses import dataclass, replace
from math import sqrt

import pytest
import torch

from prunus.errors import PrunusError
from prunus.evaluation import evaluate
from prunus.holding import hold
from prunus.laboratory import Drawn, Task
from prunus.mask import Mask
from prunus.recipe.lottery_ticket import CONTROLS, Found, Hunt, Round, at_last_rate, hunt_tickets, search
from prunus.report.page import write_page
from prunus.settings import Settings, make_optimizer
from prunus.snapshot import Snapshot
from prunus.store import Store, identity
from prunus.ticket import find, fine_tuning, learning_rate, to_start
from prunus.training import train

TASK = Task.of("lenet-300-100", "digits", start="glorot")
DIGITS = TASK.read()
SETTINGS = Settings(steps=20, batch=60, optimizer="sgd", learning_rate=0.1, weight_decay=1e-3)
SIZES = {"fc1.weight": (300, 64), "fc2.weight": (100, 300), "fc3.weight": (10, 100)}
KEPT = (
    {"fc1.weight": 19_200, "fc2.weight": 30_000, "fc3.weight": 1_000},
    {"fc1.weight": 9_600, "fc2.weight": 15_000, "fc3.weight": 900},
    {"fc1.weight": 4_800, "fc2.weight": 7_500, "fc3.weight": 810},
)
FRESH = ("reinit", "random")
BY_MAGNITUDE = ("one-shot", "corrupt-labels", "corrupt-pixels")


def hunt(**changes) -> Hunt:
    """Two rounds that halve each layer, but keep 90 % of the last one."""
    usual = Hunt(TASK, SETTINGS, rounds=2, keep=0.5, keeps=(("fc3.weight", 0.9),))
    return replace(usual, **changes)


def kinds(store: Store) -> Counter:
    return Counter(store.specification_of(run)["kind"] for run in store.runs())


def counts(mask: Mask) -> dict[str, int]:
    return {name: int(kept.sum()) for name, kept in mask.items()}


# What each control changes ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Searched:
    """A search that is done: of all controls, rewinding to `step`."""

    store: Store
    step: int
    rounds: list[Round]

    @property
    def tickets(self) -> list[Round]:
        return self.rounds[1:]

    def mask(self, run) -> Mask:
        return self.store.result(run.mask)

    def start(self, run) -> Snapshot:
        return self.store.result(run.start)

    def dense(self) -> dict[str, torch.Tensor]:
        return self.store.result(self.rounds[0].ticket).weights


@pytest.fixture(scope="module", params=[(0, 2), (10, 1)], ids=["from the start", "from step 10"])
def searched(request, tmp_path_factory) -> Searched:
    step, rounds = request.param
    whole = hunt(rounds=rounds, step=step, controls=tuple(CONTROLS))
    store = Store(tmp_path_factory.mktemp("store"))
    hunt_tickets(whole, store)
    return Searched(store, step, search(whole, 0))


def test_tickets_keep_what_they_are_to_keep(searched):
    assert searched.rounds[0].mask is None
    for number, found in enumerate(searched.tickets, 1):
        assert counts(searched.mask(found.ticket)) == KEPT[number]
        assert identity(found.mask) == identity(found.ticket.mask)


@pytest.mark.parametrize("name", CONTROLS)
def test_a_control_is_trained_as_its_ticket_is(searched, name):
    for found in searched.tickets:
        ticket, control = found.ticket, found.controls[name]
        for part in ("task", "settings", "seed", "frozen", "until"):
            assert getattr(control, part) == getattr(ticket, part), part
        begin = 0 if name in FRESH else searched.step
        assert searched.start(control).step == begin
        assert searched.store.metrics(control)["steps"] == 20 - begin
        weights = searched.store.result(control).weights
        for tensor, kept in searched.mask(control).items():
            assert weights[tensor][~kept].count_nonzero() == 0
            assert weights[tensor][kept].count_nonzero() > 0.99 * kept.sum()


@pytest.mark.parametrize("name", [name for name in CONTROLS if name not in FRESH])
def test_other_masks_have_the_start_of_the_ticket(searched, name):
    for found in searched.tickets:
        start, ticket = searched.start(found.controls[name]), searched.start(found.ticket)
        for tensor, value in ticket.weights.items():
            assert torch.equal(start.weights[tensor], value)
        assert (start.optimizer is None) == (ticket.optimizer is None) == (searched.step == 0)


@pytest.mark.parametrize("name", FRESH)
def test_fresh_weights_are_drawn_anew_in_the_same_way(searched, name):
    for found in searched.tickets:
        fresh, drawn = searched.start(found.controls[name]).weights, TASK.network(0).state_dict()
        for tensor, (outputs, inputs) in SIZES.items():
            assert not torch.isclose(fresh[tensor], drawn[tensor], rtol=1e-6, atol=0).float().mean() > 1e-3
            assert fresh[tensor].std().item() == pytest.approx(sqrt(2 / (inputs + outputs)), rel=0.1)
        assert not any(fresh[tensor].any() for tensor in fresh if tensor.endswith("bias"))


def test_reinit_has_the_mask_of_the_ticket(searched):
    for found in searched.tickets:
        assert searched.mask(found.controls["reinit"]) == searched.mask(found.ticket)


def test_all_masks_but_those_by_chance_keep_as_much_of_each_tensor(searched):
    for number, found in enumerate(searched.tickets, 1):
        for name in CONTROLS:
            if name not in ("random-ratios", "smart-ratio"):
                assert counts(searched.mask(found.controls[name])) == KEPT[number], name


def test_all_masks_keep_as_much_in_all(searched):
    for number, found in enumerate(searched.tickets, 1):
        for name in CONTROLS:
            kept = searched.mask(found.controls[name]).kept
            assert abs(kept - sum(KEPT[number].values())) <= 1, name


@pytest.mark.parametrize("name", ["shuffle", "random", "random-ratios", "smart-ratio"])
def test_masks_by_chance_know_nothing_of_the_ticket(searched, name):
    """Two random masks of densities a and b share a b of all entries."""
    for found in searched.tickets:
        ticket, mask = searched.mask(found.ticket), searched.mask(found.controls[name])
        for tensor, kept in mask.items():
            chance = kept.float().mean() * ticket[tensor].float().mean()
            deviation = sqrt(chance / kept.numel())
            assert (kept & ticket[tensor]).float().mean().item() == pytest.approx(chance.item(), abs=5 * deviation)


def test_the_two_shuffles_are_not_the_same(searched):
    for found in searched.tickets:
        shuffled, random = (searched.mask(found.controls[name]) for name in ("shuffle", "random"))
        assert all(not torch.equal(kept, random[tensor]) for tensor, kept in shuffled.items())


def test_random_ratios_do_not_favour_any_tensor(searched):
    """The last layer, of which the ticket keeps nearly all, is as dense as the whole but for chance."""
    for found in searched.tickets:
        mask = searched.mask(found.controls["random-ratios"])
        for kept in mask.values():
            deviation = sqrt(mask.density * (1 - mask.density) / kept.numel())
            assert kept.float().mean().item() == pytest.approx(mask.density, abs=5 * deviation)


def test_smart_ratio_is_the_rule_of_its_paper(searched):
    """Su et al. 2020: 3 layers have parts as 3 * 4 to 2 * 3, the last keeps 30 %."""
    for found in searched.tickets:
        first, second, last = searched.mask(found.controls["smart-ratio"]).densities().values()
        assert last == 0.3
        assert first / second == pytest.approx(2, rel=1e-3)


def test_inverted_keeps_the_smallest_of_the_dense_network(searched):
    dense = searched.dense()
    for found in searched.tickets:
        for tensor, kept in searched.mask(found.controls["inverted"]).items():
            magnitudes = dense[tensor].abs()
            assert magnitudes[kept].max() <= magnitudes[~kept].min()


@pytest.mark.parametrize("name", BY_MAGNITUDE)
def test_others_keep_the_largest_of_a_network_that_was_trained_once(searched, name):
    for found in searched.tickets:
        mask = found.controls[name].mask
        trained = searched.store.result(mask.trained)
        assert mask.trained.mask is None
        assert mask.trained.settings == SETTINGS
        for tensor, kept in searched.store.result(mask).items():
            magnitudes = trained.weights[tensor].abs()
            assert magnitudes[kept].min() >= magnitudes[~kept].max()
        if name == "one-shot":
            assert identity(mask.trained) == identity(searched.rounds[0].ticket)


def test_one_shot_is_not_what_rounds_find(searched):
    if len(searched.tickets) > 1:
        last = searched.tickets[-1]
        assert searched.mask(last.controls["one-shot"]) != searched.mask(last.ticket)


@pytest.mark.parametrize("what", ["labels", "pixels"])
def test_corrupted_networks_saw_nothing_but_corrupted_data(searched, what):
    networks = {identity(found.controls[f"corrupt-{what}"].mask.trained) for found in searched.tickets}
    assert len(networks) == 1, "one for all rounds"
    trained = searched.tickets[0].controls[f"corrupt-{what}"].mask.trained
    assert trained.task == replace(TASK, corrupt=what)
    start = searched.store.result(trained.start)
    assert start.step == 0
    drawn = TASK.network(0).state_dict()
    assert all(torch.equal(value, drawn[name]) for name, value in start.weights.items())
    metrics = searched.store.metrics(trained)
    assert metrics["steps"] == 20
    assert metrics["error"] > 50 > 2 * searched.store.metrics(searched.rounds[0].ticket)["error"]


def test_controls_of_channels_are_channels(tmp_path):
    names = ("reinit", "random-ratios", "inverted", "one-shot", "corrupt-labels")
    store, whole = Store(tmp_path), hunt(rounds=1, pattern="channel(0)", controls=names)
    hunt_tickets(whole, store)
    ticket = search(whole, 0)[1]
    for name, run in {"ticket": ticket.ticket, **ticket.controls}.items():
        rows = {tensor: kept.float().mean(1) for tensor, kept in store.result(run.mask).items()}
        assert all(((part == 0) | (part == 1)).all() for part in rows.values()), name
        kept = [int(part.sum()) for part in rows.values()]
        assert sum(kept) == 209 if name == "random-ratios" else kept == [150, 50, 9], name


# The search itself -----------------------------------------------------------------------------------------------


def one_training(settings: Settings):
    """The whole training of a network by the loop, a hold and a snapshot alone."""

    def trained(start: Snapshot, mask: Mask) -> Snapshot:
        model = TASK.network(7)
        chosen = at_last_rate(settings) if start.extra else settings
        optimizer = make_optimizer(model, chosen)
        with torch.random.fork_rng(devices=[]):
            start.restore(model, optimizer if start.optimizer else None)
            with hold(optimizer, model, mask):
                train(model, DIGITS, chosen, seed=0, optimizer=optimizer, begin=start.step)
        return Snapshot.take(model, optimizer, step=chosen.steps)

    return trained


def fine_tuning_anew(start: Snapshot, trained: Snapshot) -> Snapshot:
    return replace(fine_tuning(start, trained), optimizer=None, step=0, extra={"last rate": True})


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize(
    ("rewind", "step", "by_hand"),
    [
        ("weights", 0, to_start),
        ("weights", 10, to_start),
        ("learning-rate", 10, learning_rate),
        ("none", 0, fine_tuning_anew),
        ("none", 10, fine_tuning_anew),
    ],
)
def test_the_search_is_that_of_find(tmp_path, rewind, step, by_hand):
    settings = replace(SETTINGS, decay="steps", drops=(0.4, 0.8), warm_up=3)
    store, whole = Store(tmp_path), hunt(settings=settings, step=step, rewind=rewind)
    hunt_tickets(whole, store)

    model = TASK.network(0)
    optimizer = make_optimizer(model, settings)
    train(model, DIGITS, settings, seed=0, optimizer=optimizer, end=step)
    start = Snapshot.take(model, optimizer if step else None, step=step)
    tickets = find(one_training(settings), start, rounds=2, keep=0.5, keeps=dict(whole.keeps), rewind=by_hand)
    for found, ticket in zip(search(whole, 0), tickets, strict=True):
        if found.mask:
            assert store.result(found.mask) == ticket.mask
        for name, value in store.result(found.ticket).weights.items():
            assert torch.equal(value, ticket.trained.weights[name]), (ticket.round, name)


def test_the_last_rate_of_a_training():
    assert at_last_rate(SETTINGS) == SETTINGS
    assert at_last_rate(replace(SETTINGS, warm_up=5)) == SETTINGS
    twice = replace(SETTINGS, decay="steps", drops=(0.5, 0.75), warm_up=5)
    last = at_last_rate(twice)
    assert last.learning_rate == pytest.approx(0.1 * twice.share_of_rate(19, 20)) == pytest.approx(0.001)
    assert replace(last, learning_rate=0.1) == SETTINGS


def test_fine_tuning_after_a_rate_of_zero_is_refused(tmp_path, steps):
    store = Store(tmp_path)
    with pytest.raises(PrunusError, match="fine-tuning needs a last learning rate, and the decay 'cosine' ends at"):
        hunt_tickets(hunt(settings=replace(SETTINGS, decay="cosine"), rewind="none"), store)
    assert steps() == 0
    assert store.runs() == []


def test_a_score_that_asks_for_initial_gets_the_drawn_weights(tmp_path):
    store, whole = Store(tmp_path), hunt(rounds=1, step=10, score="large_initial")
    hunt_tickets(whole, store)
    drawn = TASK.network(0).state_dict()
    for name, kept in store.result(search(whole, 0)[1].mask).items():
        assert drawn[name].abs()[kept].min() >= drawn[name].abs()[~kept].max()


def test_no_rounds(tmp_path, steps):
    (dense,) = hunt_tickets(hunt(rounds=0), Store(tmp_path))
    assert (dense.round, dense.density, dense.controls) == (0, 1.0, {})
    assert steps() == 20


# What is shared, and what is trained ----------------------------------------------------------------------------


def test_asked_twice_it_trains_nothing(tmp_path, steps):
    whole = hunt(step=10, seeds=(0, 4), controls=("reinit", "one-shot", "corrupt-labels"))
    first = hunt_tickets(whole, Store(tmp_path))
    # a seed: the first 10, dense and both tickets and one-shots from there, both reinits and corrupted ones whole
    assert steps() == 2 * (10 + 10 + 2 * 10 + 2 * 20 + 2 * 10 + (20 + 2 * 10))
    assert kinds(Store(tmp_path)) == {"Trained": 2 * 11, "Drawn": 2 * 2, "Pruned": 2 * 6}
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    taken = steps()
    again = hunt_tickets(whole, Store(tmp_path))
    assert steps() == taken
    assert again == first
    after = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    assert {path: when for path, when in after.items() if "studies" not in path.parts} == {
        path: when for path, when in before.items() if "studies" not in path.parts
    }
    assert len(Store(tmp_path).studies()) == 1


def test_searches_share_what_they_have_in_common(tmp_path, steps):
    """Dense training is one parent, whatever is pruned from it; more rounds and seeds cost themselves alone."""
    store, taken = Store(tmp_path), 0
    for changes, new in (
        ({"rounds": 1}, 20 + 20),
        ({"rounds": 2}, 20),
        ({"rounds": 2, "controls": ("shuffle",)}, 2 * 20),
        ({"rounds": 1, "keep": 0.25}, 20),
        ({"rounds": 1, "score": "small_final"}, 20),
        ({"rounds": 1, "seeds": (0, 1)}, 20 + 20),
        ({"rounds": 1, "step": 10}, 10 + 10 + 10),  # as far as ten, and from there
        ({"rounds": 1, "step": 10, "rewind": "learning-rate"}, 10),
    ):
        hunt_tickets(hunt(**changes), store)
        assert steps() - taken == new, changes
        taken = steps()
    assert kinds(store)["Drawn"] == 2


def test_branches_of_a_late_moment_share_the_way_there(tmp_path):
    whole = hunt(rounds=1, step=10, controls=("shuffle", "inverted"))
    dense, ticket = search(whole, 0)
    runs = [dense.ticket, ticket.ticket, *ticket.controls.values()]
    assert len({identity(run.start) for run in runs}) == 1
    assert runs[0].start.until == 10
    assert identity(ticket.mask.trained) == identity(dense.ticket)
    hunt_tickets(whole, Store(tmp_path))
    assert kinds(Store(tmp_path))["Trained"] == 1 + len(runs)


def test_putting_a_search_together_trains_nothing(steps):
    assert len(search(hunt(rounds=30, controls=tuple(CONTROLS)), 0)) == 31
    assert steps() == 0


# What is told ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def replicated(tmp_path_factory) -> tuple[Hunt, Store, list[Found]]:
    whole = hunt(seeds=(3, 5), controls=("random", "one-shot"))
    store = Store(tmp_path_factory.mktemp("store"))
    return whole, store, hunt_tickets(whole, store)


def accuracy(weights: dict[str, torch.Tensor]) -> float:
    model = TASK.network(0)
    model.load_state_dict(weights)
    return 100 - evaluate(model, DIGITS.test()).error


def test_what_was_found_is_what_the_weights_do(replicated):
    whole, store, found = replicated
    searches = [search(whole, seed) for seed in (3, 5)]
    assert [one.round for one in found] == [0, 1, 2]
    for number, one in enumerate(found):
        assert one.density == sum(KEPT[number].values()) / 50_200
        rounds = [rounds[number] for rounds in searches]
        assert one.runs == tuple(identity(each.ticket) for each in rounds)
        assert one.accuracy == tuple(accuracy(store.result(each.ticket).weights) for each in rounds)
        assert list(one.controls) == (["random", "one-shot"] if number else [])
        for name, values in one.controls.items():
            assert values == tuple(accuracy(store.result(each.controls[name]).weights) for each in rounds)
        for each, step, right in zip(rounds, one.early_stop_step, one.early_stop_accuracy, strict=True):
            curve = store.metrics(each.ticket)["curve"]
            assert step == min(curve, key=lambda point: point[2])[0]
            if step == 20:
                assert right == accuracy(store.result(each.ticket).weights)
    assert len({one.accuracy for one in found}) > 1
    assert found[0].accuracy[0] != found[0].accuracy[1], "the seeds are searches of their own"


def test_replicates_share_nothing(replicated):
    whole, store, _ = replicated
    first, second = (search(whole, seed) for seed in (3, 5))
    assert not {identity(run) for one in first for run in one.runs()} & {
        identity(run) for one in second for run in one.runs()
    }
    assert kinds(store) == {"Trained": 2 * 7, "Drawn": 2 * 2, "Pruned": 2 * 4, "Shuffled": 2 * 2}


def test_the_study_names_all_that_a_report_shows(replicated, tmp_path):
    _, store, found = replicated
    (study,) = store.studies()
    assert study["kind"] == "tickets"
    assert study["title"] == "lenet-300-100 on digits"
    assert study["hunt"]["seeds"] == [3, 5]
    assert study["hunt"]["settings"]["learning_rate"] == 0.1
    assert [one["round"] for one in study["rounds"]] == [0, 1, 2]
    for one, entry in zip(found, study["rounds"], strict=True):
        assert entry["runs"] == list(one.runs)
        assert len(entry["masks"]) == (2 if one.round else 0)
        for mask in entry["masks"]:
            assert store.metrics_of(mask)["density"] == one.density
            assert set(store.metrics_of(mask)["densities"]) == set(SIZES)
        assert entry["controls"].keys() == one.controls.keys()
        for name, runs in entry["controls"].items():
            assert [100 - store.metrics_of(run)["error"] for run in runs] == list(one.controls[name])
        for run in (*entry["runs"], *sum(entry["controls"].values(), [])):  # noqa: RUF017
            metrics = store.metrics_of(run)
            assert metrics["early_stop"].keys() >= {"step", "error"}
            assert all(len(point) == 3 for point in metrics["curve"])
    write_page(store, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert all(run in page for one in found for run in one.runs)


# What is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"rounds": -1}, "rounds must be at least 0, found -1"),
        ({"seeds": ()}, r"at least one seed, and each of them once, found \[\]"),
        ({"seeds": (1, 2, 1)}, r"each of them once, found \[1, 2, 1\]"),
        ({"keep": 0.0}, r"keep: the part to keep, 0.0, is outside \(0, 1\]"),
        ({"keep": 1.5}, r"keep: the part to keep, 1.5, is outside \(0, 1\]"),
        ({"keep": float("nan")}, "keep: the part to keep, nan"),
        ({"keeps": (("fc3.weight", 0.0),)}, "fc3.weight: the part to keep, 0.0"),
        ({"rewind": "weigths"}, "unknown rewind 'weigths', did you mean 'weights'"),
        ({"controls": ("reinit", "shufle")}, "unknown control 'shufle', did you mean 'shuffle'"),
        ({"score": "magnitud"}, "unknown score 'magnitud', did you mean 'magnitude'"),
        ({"scope": "networks"}, "unknown scope 'networks', did you mean 'network'"),
        ({"pattern": "elements"}, "unknown pattern 'elements', did you mean 'element'"),
        ({"step": -1}, "step -1 is no part of the 20"),
        ({"step": 21}, "step 21 is no part of the 20"),
    ],
)
def test_hunts_that_cannot_be_are_refused(changes, sentence):
    with pytest.raises(PrunusError, match=sentence):
        hunt(**changes)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"keeps": (("fc4.weight", 0.9),)}, "no weights named fc4.weight; there are fc1.weight, fc2.weight"),
        ({"scope": "network"}, "parts of single tensors need the scope `tensor`"),
    ],
)
def test_parts_that_do_not_fit_the_network_are_refused_before_it_is_trained(tmp_path, steps, changes, sentence):
    with pytest.raises(PrunusError, match=sentence):
        hunt_tickets(hunt(**changes), Store(tmp_path))
    assert steps() == 0


def test_pieces_of_fresh_weights_are_not_those_of_another_replicate():
    """Or a control of one would be the ticket of another."""
    (_, first), (_, second) = (search(hunt(rounds=1, controls=FRESH), seed) for seed in (0, 1))
    drawn = [Drawn(TASK, seed) for seed in (0, 1)]
    starts = [one.controls[name].start for one in (first, second) for name in FRESH]
    assert len({identity(piece) for piece in (*drawn, *starts)}) == 4
