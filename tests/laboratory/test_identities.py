"""Every field of every piece is in its identity; the table of changes has to have a line for each."""

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from prunus import laboratory
from prunus.laboratory import (
    Acted,
    Approximated,
    BestEdges,
    Chances,
    Compensated,
    Connected,
    Drawn,
    Elsewhere,
    Ended,
    Factored,
    Frozen,
    Gems,
    GraduallyPruned,
    Inverted,
    Iterated,
    Lassoed,
    Masked,
    MaskFile,
    Narrowed,
    Netted,
    Opened,
    Packed,
    Perturbed,
    Pruned,
    Ranked,
    Redrawn,
    Reparametrised,
    Rewired,
    Rewound,
    Selected,
    Shrunk,
    Shuffled,
    Slimmed,
    Summed,
    Supermasked,
    Task,
    Trained,
    Transferred,
)
from prunus.laboratory.reparametrised import METHODS
from prunus.reparametrised import DynamicPruning, Surgery
from prunus.settings import Settings
from prunus.store import identity, specification
from prunus.store.identity import from_toml, hashed, to_toml
from prunus.supermask import Start

from .benches import Given

TASK = Task("lenet-300-100", "digits", "as read")
FIRST, SECOND, THIRD = Given(None, "first"), Given(None, "second"), Given(None, "third")
PIECES: dict[type, Any] = {
    Drawn: Drawn(TASK, 0),
    Trained: Trained(TASK, FIRST, Settings(steps=10), 0),
    Rewired: Rewired(TASK, FIRST, Settings(steps=10), 0, FIRST),
    Reparametrised: Reparametrised(TASK, FIRST, Settings(steps=10), 0, DynamicPruning(0.5, end=9)),
    Ended: Ended(FIRST),
    Factored: Factored(TASK, FIRST, Settings(steps=10), 0),
    GraduallyPruned: GraduallyPruned(TASK, FIRST, Settings(steps=10), 0),
    Packed: Packed(TASK, FIRST),
    Pruned: Pruned(TASK, FIRST),
    Inverted: Inverted(TASK, FIRST),
    Iterated: Iterated(TASK, FIRST),
    Shuffled: Shuffled(FIRST, 0),
    Compensated: Compensated(TASK, FIRST, 0.5),
    MaskFile: MaskFile("its hash", Path("mask.safetensors")),
    Rewound: Rewound(FIRST, SECOND),
    Acted: Acted(FIRST, SECOND),
    Perturbed: Perturbed(FIRST, SECOND, THIRD, "signs"),
    Connected: Connected(TASK, FIRST, SECOND),
    Slimmed: Slimmed(TASK, FIRST, Settings(steps=10), 0),
    Ranked: Ranked(TASK, FIRST, 0.5),
    Shrunk: Shrunk(TASK, FIRST, SECOND),
    Redrawn: Redrawn(TASK, FIRST, 0),
    Narrowed: Narrowed(TASK, FIRST, 0.5),
    Selected: Selected(TASK, FIRST, 0.5),
    Lassoed: Lassoed(TASK, FIRST, Settings(steps=10), 0, 1e-3),
    Transferred: Transferred(FIRST, SECOND),
    Opened: Opened(FIRST, SECOND),
    Frozen: Frozen(TASK, Start()),
    Supermasked: Supermasked(TASK, BestEdges(0.5), Start(), Settings(steps=10), 0),
    Masked: Masked(TASK, Start(), FIRST),
    Elsewhere: Elsewhere(FIRST, 0),
    Summed: Summed(8, (0.1, 0.01), 100, 0),
    Netted: Netted((0.1, 0.01), 0.99, 100, 0),
    Approximated: Approximated("hash", (8, 16), (0.1, 0.01), 0),
}
TASKS = {
    "model": "lenet-5",
    "data": "mnist",
    "data_bytes": "changed",
    "start": "glorot",
    "corrupt": "labels",
    "model_code": "hash",
}
SETTINGS = {
    "epochs": (1, {"steps": None}),
    "steps": 11,
    "batch": 64,
    "optimizer": "sgd",
    "learning_rate": 1e-3,
    "momentum": 0.8,
    "weight_decay": 1e-4,
    "decay": "cosine",
    "drops": (0.5,),
    "warm_up": 1,
    "augment": True,
    "label_smoothing": 0.1,
    "precision": "bf16-mixed",
    "sparse_below": 0.4,
}
PRUNED = {
    "task": replace(TASK, start="he"),
    "trained": SECOND,
    "keep": 0.8,
    "keeps": (("fc3.weight", 0.9),),
    "like": FIRST,
    "within": FIRST,
    "initial": FIRST,
    "score": "movement",
    "score_code": "hash",
    "pattern": "channel(0)",
    "scope": "network",
    "seed": 1,
    "allow_empty": True,
}
TRAINED = {
    "task": replace(TASK, corrupt="pixels"),
    "start": SECOND,
    "settings": Settings(steps=11),
    "seed": 1,
    "mask": SECOND,
    "frozen": True,
    "until": 10,
}
CHANGES: dict[type, dict[str, Any]] = {
    Drawn: {"task": replace(TASK, data="mnist"), "seed": 1},
    Trained: TRAINED,
    Rewired: {**TRAINED, "method": "set", "every": 50, "moving": 0.5, "fraction": 0.5},
    Reparametrised: {
        "task": replace(TASK, corrupt="pixels"),
        "start": SECOND,
        "settings": Settings(steps=11),
        "seed": 1,
        "method": Surgery(0.5, until=9, of_tensors=(("fc3.weight", 0.1),)),
        "density": 0.5,
        "left": ("fc3.weight",),
        "until": 10,
    },
    Ended: {"trained": SECOND},
    Factored: {
        "task": replace(TASK, corrupt="pixels"),
        "start": SECOND,
        "settings": Settings(steps=11),
        "seed": 1,
        "ratio": 0.5,
        "first": 2,
        "last": 0,
        "full": ("fc2",),
        "warm": False,
        "norm": True,
    },
    GraduallyPruned: {
        **TRAINED,
        "density": 0.2,
        "like": SECOND,
        "begin": 0.1,
        "end": 0.8,
        "every": 50,
        "score": "small_final",
        "score_code": "hash",
        "scope": "tensor",
    },
    Packed: {"task": replace(TASK, model="lenet-5"), "weights": SECOND},
    Pruned: PRUNED,
    Inverted: PRUNED,
    Iterated: {**PRUNED, "rounds": 10},
    Shuffled: {"mask": SECOND, "seed": 1},
    Compensated: {
        "task": replace(TASK, model="lenet-5"),
        "trained": SECOND,
        "density": 0.4,
        "method": "sparsegpt",
        "scope": "network",
    },
    MaskFile: {"content": "another hash"},
    Rewound: {"weights": THIRD, "schedule": THIRD},
    Acted: {
        "start": THIRD,
        "mask": THIRD,
        "kept": "redraw",
        "pruned": "freeze",
        "trained": THIRD,
        "fresh": THIRD,
        "seed": 1,
    },
    Perturbed: {"start": THIRD, "initial": FIRST, "mask": FIRST, "change": "noised", "amount": 0.5, "seed": 1},
    Connected: {
        "task": replace(TASK, model="lenet-5"),
        "first": SECOND,
        "second": FIRST,
        "points": 31,
        "rows": 10_001,
    },
    Slimmed: {
        "task": replace(TASK, model="resnet-20"),
        "start": SECOND,
        "settings": Settings(steps=11),
        "seed": 1,
        "strength": 1e-3,
        "density": 0.5,
        "window": 4,
        "threshold": 0.2,
    },
    Ranked: {"task": replace(TASK, model="resnet-20"), "trained": SECOND, "density": 0.4},
    Shrunk: {"task": replace(TASK, model="resnet-20"), "weights": THIRD, "mask": THIRD},
    Redrawn: {"task": replace(TASK, model="resnet-20"), "like": SECOND, "seed": 1},
    Narrowed: {
        "task": replace(TASK, model="resnet-20"),
        "trained": SECOND,
        "density": 0.4,
        "score": "relevance",
        "score_code": "hash",
        "pattern": "channel(1)",
        "scope": "network",
        "seed": 1,
        "alone": True,
    },
    Selected: {"task": replace(TASK, model="resnet-20"), "trained": SECOND, "density": 0.4, "rows": 512},
    Lassoed: {
        "task": replace(TASK, model="resnet-20"),
        "start": SECOND,
        "settings": Settings(steps=11),
        "seed": 1,
        "strength": 1e-4,
        "pattern": "column",
        "alone": True,
    },
    Transferred: {"weights": THIRD, "fresh": THIRD, "renewed": ("fc3.weight",)},
    Opened: {"mask": THIRD, "like": THIRD, "opened": ("fc3.weight",)},
    Frozen: {"task": replace(TASK, model="lenet-5"), "start": Start("uniform")},
    Supermasked: {
        "task": replace(TASK, model="lenet-5"),
        "method": BestEdges(0.5, "network"),
        "start": Start(seed=1),
        "settings": Settings(steps=11),
        "seed": 1,
    },
    Masked: {"task": replace(TASK, model="lenet-5"), "start": Start(density=0.5), "mask": SECOND},
    Elsewhere: {"mask": SECOND, "seed": 1},
    Summed: {"items": 9, "epsilons": (0.1,), "targets": 101, "seed": 1},
    Netted: {"epsilons": (0.1,), "share": 0.95, "targets": 101, "seed": 1},
    Approximated: {"content": "another hash", "items": (8,), "epsilons": (0.1,), "seed": 1, "most": 100},
}


def changed(value: Any, name: str, other: Any) -> Any:
    other, further = other if isinstance(other, tuple) and isinstance(other[-1], dict) else (other, {})
    assert getattr(value, name) != other
    return replace(value, **{name: other}, **further)


def test_all_pieces_are_here() -> None:
    public = {getattr(laboratory, name) for name in laboratory.__all__}
    assert {part for part in public if isinstance(part, type) and hasattr(part, "make")} == PIECES.keys()


@pytest.mark.parametrize("kind", PIECES, ids=lambda kind: kind.__name__)
def test_the_table_has_every_field(kind: type) -> None:
    deciding = {field.name for field in fields(kind) if not field.metadata.get("place")}  # type: ignore[arg-type]
    assert CHANGES[kind].keys() == deciding
    assert TASKS.keys() == {field.name for field in fields(Task)}
    assert SETTINGS.keys() == {field.name for field in fields(Settings)}


@pytest.mark.parametrize(
    ("kind", "name"),
    [(kind, name) for kind, changes in CHANGES.items() for name in changes],
    ids=lambda part: part if isinstance(part, str) else part.__name__,
)
def test_every_field_of_every_piece_counts(kind: type, name: str) -> None:
    assert identity(changed(PIECES[kind], name, CHANGES[kind][name])) != identity(PIECES[kind])


@pytest.mark.parametrize("name", TASKS)
def test_every_field_of_a_task_counts(name: str) -> None:
    assert identity(Drawn(changed(TASK, name, TASKS[name]), 0)) != identity(PIECES[Drawn])


@pytest.mark.parametrize("name", SETTINGS)
def test_every_setting_counts(name: str) -> None:
    piece = PIECES[Trained]
    assert identity(replace(piece, settings=changed(piece.settings, name, SETTINGS[name]))) != identity(piece)


def test_a_mask_and_its_inverse_are_two_pieces() -> None:
    assert specification(PIECES[Inverted]) == {**specification(PIECES[Pruned]), "kind": "Inverted"}
    assert identity(PIECES[Inverted]) != identity(PIECES[Pruned])


def test_masks_that_may_not_be_empty_are_the_pieces_they_were() -> None:
    assert "allow_empty" not in specification(PIECES[Pruned])


def test_where_a_mask_lies_does_not_count() -> None:
    assert identity(MaskFile("its hash", Path("elsewhere"))) == identity(PIECES[MaskFile])


@pytest.mark.parametrize("kind", PIECES, ids=lambda kind: kind.__name__)
def test_equal_content_is_equal_and_comes_back_from_toml(kind: type) -> None:
    piece = PIECES[kind]
    copy = replace(piece)
    assert copy is not piece
    assert identity(copy) == identity(piece)
    full = piece
    for name, other in CHANGES[kind].items():
        full = changed(full, name, other)
    for one in (piece, full):
        text = to_toml(specification(one))
        assert hashed(from_toml(text)) == identity(one)
        assert from_toml(text) == specification(one)


def test_a_search_of_300_rounds() -> None:
    """Each round names the mask, the start and the run before it, most of them more than once."""
    drawn = Drawn(TASK, 0)
    mask, run = None, Trained(TASK, drawn, Settings(steps=10), 0)
    runs = [identity(run)]
    for _ in range(300):
        mask = Pruned(TASK, run, within=mask, initial=drawn, keep=0.8)
        run = Trained(TASK, drawn, Settings(steps=10), 0, mask=mask)
    last = identity(run)
    while run.mask:
        runs += [identity(run), identity(run.mask)]
        run = run.mask.trained  # type: ignore[attr-defined]
    assert last in runs
    assert len(set(runs)) == 601


def test_methods_that_learn_masks_are_told_apart() -> None:
    methods = [
        *(BestEdges(0.5), BestEdges(0.4), BestEdges(0.5, "network"), Chances(0.5), Chances(0.4), Chances(0.5, 0.0)),
        *(Gems(0.5), Gems(0.4), Gems(0.5, 2), Gems(0.5, strength=1e-6), Gems(0.5, rescale=0.0)),
    ]
    found = {identity(replace(PIECES[Supermasked], method=method)) for method in methods}
    assert len(found) == len(methods)


def test_methods_over_training_are_told_apart() -> None:
    methods = [method(0.1, 100, 1000) for method in METHODS.values()]
    found = {identity(replace(PIECES[Reparametrised], method=method)) for method in methods}
    assert len(found) == len(methods)
