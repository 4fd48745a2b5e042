"""Deep Compression: prune, share weights, code. Han, Mao & Dally, ICLR 2016.

The three stages are the paper's; training is today's (augmentation, a gradual schedule, the dense network or a
bigger one as teacher). The paper's own densities and bits can be asked for.
"""

import copy
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from prunus import pack
from prunus.batchnorm import recalibrate
from prunus.codebook import Codebook
from prunus.data import Data
from prunus.errors import PrunusError
from prunus.evaluation import device_of, evaluate
from prunus.gradual import Gradual
from prunus.holding import hold
from prunus.mask import Mask, check_density
from prunus.models import describe
from prunus.modes import mode
from prunus.pack.codec import RelativeIndex
from prunus.progress import Progress, silent
from prunus.pruning import threshold
from prunus.quantise import Start, linear, share
from prunus.recipe.distillation import distillation
from prunus.schedule import cubic
from prunus.scope import Scope, floored, overall, toward
from prunus.settings import Settings, make_optimizer
from prunus.sharing import Sharing
from prunus.sparse import hold_sparse
from prunus.training import fingerprint, this_machine, train
from prunus.tree import parameters, weights
from prunus.workfolder import WorkFolder

FLOOR = 0.5  # no tensor falls below this part of the density, or layers collapse


@dataclass(frozen=True)
class Plan:
    """What is decided before a run.

    `density`: kept / total of the weights; `densities` fixes single tensors (the paper's tables), `quality` q
    keeps |w| >= q std(W) in each tensor instead (Han et al. 2015). It is reached in `rounds` of pruning and
    retraining, each to half the density of the one before. With `max_error`, a percentage on the
    validation part, pruning goes on in rounds, each to `density` times `step_down`, and the last network within
    it is taken. `bits` of a shared weight, `layer_bits` for single tensors, `bias_bits` for biases;
    `index_bits` of a gap, chosen per tensor where None. `coding`: "huffman" as published, or "smallest".
    """

    density: float = 0.035
    densities: Mapping[str, float] = field(default_factory=dict)
    quality: float | None = None
    rounds: int = 3
    max_error: float | None = None
    step_down: float = 0.7
    bits: int = 4
    layer_bits: Mapping[str, int] = field(default_factory=dict)
    bias_bits: int = 4
    index_bits: int | None = None
    coding: Literal["huffman", "smallest"] = "huffman"
    start: Start = linear
    temperature: float = 4.0
    dense: Settings = field(default_factory=lambda: Settings(epochs=60, decay="cosine", augment=True))
    retrain: Settings = field(default_factory=lambda: Settings(epochs=120, decay="cosine", augment=True))
    tune: Settings = field(default_factory=lambda: Settings(epochs=10, decay="cosine", augment=True))

    def __post_init__(self) -> None:
        for name, density in {"density": self.density, "step_down": self.step_down, **self.densities}.items():
            check_density(density, name)
        for name, bits in {"bits": self.bits, "bias_bits": self.bias_bits, **self.layer_bits}.items():
            if not 1 <= bits <= 16:
                raise PrunusError(f"{name}: {bits} bits are outside 1 to 16.")
        if not 1 <= self.rounds <= 20:
            raise PrunusError(f"rounds {self.rounds} are outside 1 to 20.")
        if self.index_bits is not None and not 1 <= self.index_bits <= 8:
            raise PrunusError(f"index_bits {self.index_bits} is outside 1 to 8.")

    def scaled(self, budget: float) -> "Plan":
        """The same plan with `budget` times the epochs in each stage, at least one."""
        if not 0 < budget <= 100:
            raise PrunusError(f"budget {budget} is outside (0, 100].")

        def shorter(settings: Settings) -> Settings:
            return replace(settings, epochs=max(1, round((settings.epochs or 1) * budget)))

        return replace(self, dense=shorter(self.dense), retrain=shorter(self.retrain), tune=shorter(self.tune))


@dataclass(frozen=True)
class Stage:
    """The network after a stage, in a real file: bytes on disk, and its error in percent on the test part."""

    name: str
    file_bytes: int
    ratio: float
    error: float


@dataclass(frozen=True)
class Compression:
    """What came out: sizes in bytes on disk, errors in percent on the test part, seconds of this run."""

    density: float
    dense_bytes: int
    file_bytes: int
    ratio: float
    error_dense: float
    error: float
    error_reloaded: float
    error_validation: float
    seconds: float
    stages: tuple[Stage, ...]
    contents: pack.Contents
    pruned: Mapping[str, Tensor]
    quantised: Mapping[str, Tensor]


def deep_compression(
    model: nn.Module,
    data: Data,
    path: Path,
    *,
    plan: Plan,
    seed: int = 0,
    trained: bool = False,
    teacher: nn.Module | None = None,
    folder: Path | None = None,
    progress: Progress = silent,
) -> Compression:
    """Make `model` a small file at `path`, and end with the compressed weights in `model`.

    `trained` says that the model comes with its dense weights; otherwise it is trained first. What is pruned learns
    from the answers of `teacher`, a trained network for the same images and classes on the model's device, or from
    those of the dense network. Finished stages are kept in `folder` (by default a hidden one beside `path`, removed at
    the end), where the same call goes on after an interruption and ends with the same bytes. The file is read back:
    `PrunusError` if it does not hold, bit for bit, what was written.

    Idea: prune, let the weights that are left share values, and write what is frequent in few bits: each stage leaves
    less for the next, and training in between makes up for what it takes.
    Formula: before Huffman coding, bits = (kept + fillers) (b_w + b_index) + 32 * 2^b_w for each tensor, with b_index
    bits for the gap to the next kept weight and a filler, a zero that is stored, where a gap does not fit.
    Source: Han, Mao & Dally 2016, "Deep compression: compressing deep neural networks with pruning, trained
    quantization and Huffman coding".
    Use: any network that is to be a small file; `prunus compress`, with `coding="smallest"` for fewer bytes than the
    paper's codes.
    Cost: the dense training, rounds of retraining, and some epochs for the centroids.
    Differs: the mask falls gradually, and what is pruned learns from the dense network's answers; biases are shared
    too, and sizes are those of files, with biases and all tables in them.
    """
    started = time.monotonic()
    if teacher is not None:
        _check_teacher(teacher, model, data)
    work = WorkFolder(
        folder or path.with_name(f".{path.name}.stages"),
        {
            "plan": asdict(plan) | {"start": plan.start.__qualname__},
            "seed": seed,
            "data": data.fingerprint,
            "weights": fingerprint(model.state_dict()),
            "trained": trained,
            "teacher": fingerprint(teacher.state_dict()) if teacher is not None else None,
            **this_machine(),
        },
        own=folder is None,
    )
    run = _Run(model, data, plan, seed, teacher, work, progress)
    dense = run.dense(trained)
    pruned, quantised = run.smallest_within_limit(dense)
    files = {name: work.path / f"{name}.prunus" for name in ("pruned", "quantised", "coded")}
    description = describe(model)
    index = RelativeIndex(bits=plan.index_bits, codebook=False)
    own = weights(model)
    shared = replace(index, codebook=True)
    coded = replace(shared, huffman=True)
    pack.write(files["pruned"], pruned, codecs=dict.fromkeys(own, index), model=description)
    pack.write(files["quantised"], quantised, codecs=dict.fromkeys(own, shared), model=description)
    codecs = dict.fromkeys(own, coded) if plan.coding == "huffman" else None
    contents = pack.write(files["coded"], quantised, codecs=codecs, model=description)
    reloaded = pack.read(files["coded"])
    _check_same(quantised, reloaded)

    dense_bytes = 4 * sum(parameter.numel() for parameter in parameters(model).values())
    errors = {
        name: run.test_error(state)
        for name, state in {
            "dense": dense,
            "pruned": pruned,
            "quantised": quantised,
            "coded": reloaded,
        }.items()
    }
    sizes = {"dense": (work.path / "dense.safetensors").stat().st_size}
    sizes |= {name: file.stat().st_size for name, file in files.items()}
    result = Compression(
        density=Mask({name: quantised[name] != 0 for name in own}).density,
        dense_bytes=dense_bytes,
        file_bytes=sizes["coded"],
        ratio=dense_bytes / sizes["coded"],
        error_dense=errors["dense"],
        error=errors["quantised"],
        error_reloaded=errors["coded"],
        error_validation=run.validation_error(quantised),
        seconds=time.monotonic() - started,
        stages=tuple(Stage(name, sizes[name], dense_bytes / sizes[name], errors[name]) for name in sizes),
        contents=contents,
        pruned=pruned,
        quantised=quantised,
    )
    run.load(reloaded)
    files["coded"].replace(path)
    if folder is None:
        work.remove()
    return result


@dataclass(frozen=True)
class _Run:
    model: nn.Module
    data: Data
    plan: Plan
    seed: int
    teacher: nn.Module | None
    work: WorkFolder
    progress: Progress

    def load(self, state: Mapping[str, Tensor]) -> None:
        self.model.load_state_dict(dict(state))

    def state(self) -> dict[str, Tensor]:
        return {name: tensor.detach().clone() for name, tensor in self.model.state_dict().items()}

    def validation_error(self, state: Mapping[str, Tensor]) -> float:
        self.load(state)
        return evaluate(self.model, self.data.validation).error

    def test_error(self, state: Mapping[str, Tensor]) -> float:
        self.load(state)
        return evaluate(self.model, self.data.test()).error

    def train(self, settings: Settings, title: str, checkpoint: Path, round_: int = 0, **more: Any) -> None:
        """One stage's training: the run's model, data and progress, a seed of its own for each round."""
        train(
            self.model,
            self.data,
            settings,
            seed=self.seed + round_,
            checkpoint=checkpoint,
            progress=self.progress,
            title=title,
            **more,
        )

    def dense(self, trained: bool) -> dict[str, Tensor]:
        """Stage 0: the weights that the model came with, or those that training gives it."""

        def make(checkpoint: Path) -> dict[str, Tensor]:
            if not trained:
                self.train(self.plan.dense, "train dense", checkpoint)
            return self.state()

        return self.work.stage("dense", make)

    def smallest_within_limit(self, dense: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Stages 1 and 2: prune and retrain in rounds, then share; more rounds while the limit holds."""
        limit, density, start, best = self.plan.max_error, self.plan.density, dense, None
        for halvings in reversed(range(1, self.plan.rounds)):
            round_ = self.plan.rounds - halvings
            start = self.pruned(round_, min(1.0, density * 2**halvings), dense, start)
        for round_ in range(self.plan.rounds, 100):
            pruned = self.pruned(round_, density, dense, start)
            quantised = self.quantised(round_, dense, pruned)
            if limit is None:
                return pruned, quantised
            found = self.validation_error(quantised)
            if found > limit and best is None:
                raise PrunusError(
                    f"validation error {found:.2f} % at density {density:.3g} is above the limit of {limit:g} % "
                    f"(dense: {self.validation_error(dense):.2f} %); raise the limit or begin with more density."
                )
            if found > limit:
                break
            best, start, density = (pruned, quantised), pruned, density * self.plan.step_down
            if FLOOR * density * min(weight.numel() for weight in weights(self.model).values()) < 1:
                break  # the next round would empty a layer
        assert best is not None
        return best

    def pruned(
        self, round_: int, density: float, dense: Mapping[str, Tensor], start: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """Stage 1: prune along a cubic schedule in the first half of retraining, retrain what is left."""

        def make(checkpoint: Path) -> dict[str, Tensor]:
            teacher = self.taught_by(dense)
            self.load(start)
            mask = Mask.of_nonzero(self.model)
            final, scope = self.target(density, dense, mask)
            settings = self.plan.retrain
            end = max(1, settings.steps_in_all(len(self.data.train)) // 2)
            optimizer = make_optimizer(self.model, settings)
            holding = partial(hold_sparse, below=settings.sparse_below) if settings.sparse_below else hold
            with holding(optimizer, self.model, mask) as held:
                gradual = Gradual(
                    held,
                    cubic(final, begin=0, end=end, initial=mask.density),
                    end=end,
                    every=max(1, end // 200),
                    scope=scope,
                )
                self.train(
                    settings,
                    f"prune to {final:.3g}, retrain",
                    checkpoint,
                    round_,
                    optimizer=optimizer,
                    loss=distillation(teacher, self.plan.temperature),
                    on_step=gradual,
                    stateful={"held": held},
                )
                held.verify()
            return self.state()

        return self.work.stage(f"pruned-{round_}", make)

    def target(self, density: float, dense: Mapping[str, Tensor], mask: Mask) -> tuple[float, Scope]:
        """The density to end at, and how tensors share it: together by magnitude, unless the plan says more.

        A network that comes sparser than that stays as sparse as it is.
        """
        plan, own = self.plan, {name: dense[name] for name in weights(self.model)}
        begin = mask.densities()
        if plan.quality is None and not plan.densities:
            if density >= mask.density:
                return overall(begin, own), toward(begin, begin)
            return density, floored(min(FLOOR, min(begin.values()) / mask.density))
        kept = threshold(own, plan.quality).densities() if plan.quality is not None else {}
        final = dict.fromkeys(own, plan.density) | kept | dict(plan.densities)
        densities = {name: min(begin[name], value * density / plan.density) for name, value in final.items()}
        return overall(densities, own), toward(densities, begin)

    def quantised(self, round_: int, dense: Mapping[str, Tensor], pruned: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Stage 2: k-means in each tensor, then train the centroids by the summed gradients of their weights."""

        def make(checkpoint: Path) -> dict[str, Tensor]:
            teacher = self.taught_by(dense)
            self.load(pruned)
            with Sharing(self.model, self.codebooks()) as sharing:
                settings = self.plan.tune
                optimizer = make_optimizer(sharing.centroids, settings)
                sharing.follow(optimizer)
                self.train(
                    settings,
                    "train shared weights",
                    checkpoint,
                    round_,
                    optimizer=optimizer,
                    loss=distillation(teacher, self.plan.temperature),
                    stateful={"sharing": sharing},
                )
            self.load(_halved(self.state()))
            recalibrate(self.model, self.data.calibration)
            return _halved(self.state())

        return self.work.stage(f"quantised-{round_}", make)

    def codebooks(self) -> dict[str, Codebook]:
        """A codebook for each weight and bias; what normalisation layers hold is not shared."""
        own, normal = weights(self.model), _of_normalisation(self.model)
        return {
            name: share(
                parameter.detach(),
                2 ** (self.plan.layer_bits.get(name, self.plan.bits) if name in own else self.plan.bias_bits),
                start=self.plan.start,
            )
            for name, parameter in parameters(self.model).items()
            if name not in normal
        }

    def taught_by(self, dense: Mapping[str, Tensor]) -> nn.Module:
        """The teacher, a copy that is not trained: the one given, or the model with its dense weights."""
        teacher = copy.deepcopy(self.model if self.teacher is None else self.teacher).requires_grad_(False)
        if self.teacher is None:
            teacher.load_state_dict(dict(dense))
        return teacher


def _of_normalisation(model: nn.Module) -> set[str]:
    """Names of the parameters of modules that keep running statistics or are called a norm."""
    return {
        f"{place}.{name}" if place else name
        for place, module in model.named_modules()
        if "Norm" in type(module).__name__
        for name, _ in module.named_parameters(recurse=False)
    }


def _halved(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Single-precision values rounded to those that half precision has, where none overflows."""
    halved = {n: t.half().to(t.dtype) if t.dtype == torch.float32 else t for n, t in state.items()}
    return {name: halved[name] if halved[name].isfinite().all() else state[name] for name in state}


@torch.no_grad()
def _check_teacher(teacher: nn.Module, model: nn.Module, data: Data) -> None:
    """`PrunusError` unless both answer an image of `data` for the same number of classes."""
    one = data.validation.first(1).to(device_of(model))
    inputs = one.normalise(one.inputs)
    with mode(model, training=False), mode(teacher, training=False):
        expected = model(inputs).shape
        try:
            found = teacher(inputs).shape
        except RuntimeError as error:
            raise PrunusError(f"the teacher takes no images {data.input_shape} of '{data.name}': {error}.") from error
    if found != expected:
        raise PrunusError(f"the teacher tells {found[-1]} classes apart, expected the model's {expected[-1]}.")


def _check_same(written: Mapping[str, Tensor], read: Mapping[str, Tensor]) -> None:
    for name, tensor in written.items():
        if name not in read or fingerprint(tensor) != fingerprint(read[name]):
            raise PrunusError(f"{name}: the file does not hold what was written; nothing is kept of it.")
