"""One short training loop, that everything here trains with.

The data stays on the device as tensors. The order of epoch e is a function of (seed, e), and all noise of
step t (augmentation, dropout) a function of (seed, t), so a run that is stopped goes on bit for bit from a
checkpoint.
"""

import hashlib
import logging
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn
from torch.optim import Optimizer

from prunus.data import Data
from prunus.denormals import flushed
from prunus.errors import DivergedError, PrunusError
from prunus.evaluation import device_of, first_not_finite, not_finite_parameter
from prunus.modes import mode
from prunus.progress import Progress, silent
from prunus.settings import Settings, make_optimizer
from prunus.snapshot import Snapshot

if TYPE_CHECKING:
    from lightning_fabric import Fabric

Loss = Callable[[nn.Module, Tensor, Tensor], Tensor]
"""`loss(model, inputs, labels)` gives the scalar to be minimised."""

_LOOKED_AT_EVERY = 50  # steps, where a look at the losses makes the device wait
_REPORTED_EVERY = 20  # steps


class Stateful(Protocol):
    """Something whose state belongs to the run, like the holder of a mask."""

    def state_dict(self) -> Any:
        """Tensors, numbers and strings, nested in dicts and lists."""

    def load_state_dict(self, state: Any, /) -> Any:
        """Take back what `state_dict` gave."""


@dataclass(frozen=True)
class History:
    """What training went through: optimizer steps, and the mean training loss of each epoch's worth of them."""

    steps: int
    losses: tuple[float, ...]


def this_machine() -> dict[str, str | int]:
    """What of the machine and its software decides the last bits of a training run on the CPU."""
    return {
        "prunus": version("prunus"),
        "torch": torch.__version__,
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
    }


def train(
    model: nn.Module,
    data: Data,
    settings: Settings,
    *,
    seed: int,
    optimizer: Optimizer | None = None,
    loss: Loss | None = None,
    begin: int = 0,
    end: int | None = None,
    on_step: Callable[[int], None] | None = None,
    stateful: Mapping[str, Stateful] = {},
    checkpoint: str | os.PathLike[str] | None = None,
    every: float = 10.0,
    progress: Progress = silent,
    title: str = "train",
    fabric: "Fabric | None" = None,
) -> History:
    """Train `model` in place on the training part of `data`, on the device it is on.

    `optimizer` may be a ready-made one, over other parameters too; its learning rates are then the full
    ones. `loss` defaults to cross-entropy. Only the steps after `begin` up to `end` of those that `settings` ask
    for are taken, with the batches and rates they have in the whole: two parts, with the optimizer handed on, are
    one run. `on_step(t)` is called after optimizer step t (from 1). With `checkpoint`, a file of that name is
    written whole every `every` seconds and at the end; if it is there at the start, the same run goes on from it,
    to the bits it would have reached undisturbed (with the same `this_machine`). `stateful` objects are part of
    it. `fabric` is a launched `lightning_fabric.Fabric`, for several processes: each takes its part of every
    batch.

    Raises `DivergedError` naming the step and the place where the loss or a weight is not finite,
    `PrunusError` for a batch larger than the data and for the checkpoint of another run. Modes of modules,
    learning rates of the optimizer and torch's random state are left as they were.
    """
    if name := not_finite_parameter(model):
        raise DivergedError(f"parameter '{name}' holds NaN or infinity before the first step.")
    optimizer = optimizer or make_optimizer(model, settings)
    loss = loss or _cross_entropy(settings.label_smoothing)
    host = _host(model, optimizer, settings.precision, fabric)
    batches = _Batches(data, settings, seed, device_of(model), host)
    losses = _Losses(batches.per_epoch, host)
    total = settings.steps_in_all(len(data.train))
    last = total if end is None else end
    if not 0 <= begin <= last <= total:
        raise PrunusError(f"steps {begin} to {last} are no part of the {total} that the settings ask for.")
    identity = {"seed": seed, "data": data.fingerprint, "begin": begin, **asdict(settings)}
    run = _Run(model, optimizer, stateful, losses, host, identity)

    with (
        flushed(),
        _own_noise(batches.device),
        mode(model, training=True),
        _rates(optimizer, settings, total) as set_rates,
    ):
        start = run.resume(checkpoint, begin, last)
        saved = time.monotonic()
        for step in range(start, last):
            inputs, labels = batches(step)
            set_rates(step)
            value = loss(host.model, inputs, labels)
            losses.add(value)
            if losses.due and (bad := losses.look()):
                raise _diverged(step, bad, model, inputs)
            host.optimizer.zero_grad()
            host.backward(value)
            host.optimizer.step()
            if on_step:
                on_step(step + 1)
                host.check(model)
            if checkpoint is not None and not losses.waiting and time.monotonic() - saved >= every:
                run.save(checkpoint, step + 1)
                saved = time.monotonic()
            if (step + 1) % _REPORTED_EVERY == 0 and step + 1 < last:
                host.report(progress, title, step + 1, last, losses.latest)
        if bad := losses.look():
            raise _diverged(last - 1, bad, model, inputs)
        if name := not_finite_parameter(model):
            raise DivergedError(f"parameter '{name}' holds NaN or infinity after step {last}.")
        host.agree_on_buffers(model)
        if checkpoint is not None and start < last:
            run.save(checkpoint, last)
    host.report(progress, title, last, last, losses.latest)
    return History(last - begin, losses.of_epochs())


def _cross_entropy(label_smoothing: float) -> Loss:
    def loss(model: nn.Module, inputs: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(model(inputs), labels, label_smoothing=label_smoothing)

    return loss


@dataclass
class _Host:
    """Who computes: torch alone, or Fabric where a precision or several processes ask for it."""

    model: nn.Module
    optimizer: Any
    backward: Callable[[Tensor], Any] = Tensor.backward
    fabric: "Fabric | None" = None
    rank: int = 0
    processes: int = 1
    parameters: tuple[nn.Parameter, ...] = ()

    def check(self, model: nn.Module) -> None:
        """`PrunusError` where several processes would average gradients of parameters that are no more the model's."""
        if self.processes > 1 and {*map(id, model.parameters())} != {*map(id, self.parameters)}:
            raise PrunusError(
                "layers were swapped while several processes train, which then average no gradients of them."
            )

    def mean(self, values: Tensor) -> Tensor:
        """The mean of `values` over the processes."""
        if self.fabric is None or self.processes == 1:
            return values
        return self.fabric.all_reduce(values, reduce_op="mean")  # type: ignore[return-value]

    def agree_on_buffers(self, model: nn.Module) -> None:
        """Give every process the buffers of the first: each has seen its own part of the last batch."""
        if self.processes > 1:
            for buffer in model.buffers():
                torch.distributed.broadcast(buffer, 0)

    def report(self, progress: Progress, title: str, done: int, total: int, note: str) -> None:
        """Tell `progress`, once for all processes."""
        if self.rank == 0:
            progress(title, done, total, note)


def _host(model: nn.Module, optimizer: Optimizer, precision: str, fabric: "Fabric | None") -> _Host:
    if fabric is None:
        if precision == "32-true":
            return _Host(model, optimizer)
        fabric = _one_process(precision, device_of(model))
    if (found := fabric.strategy.precision.precision) != precision:
        raise PrunusError(f"the settings ask for precision '{precision}', the Fabric given has '{found}'.")
    wrapped, stepping = fabric.setup(model, optimizer)
    own = tuple(model.parameters())
    return _Host(wrapped, stepping, fabric.backward, fabric, fabric.global_rank, fabric.world_size, own)


def _one_process(precision: str, device: torch.device) -> "Fabric":
    if precision == "16-mixed" and device.type == "cpu":
        raise PrunusError("precision '16-mixed' needs a GPU, found the CPU; 'bf16-mixed' works on both.")
    try:
        from lightning_fabric import Fabric
    except ImportError as error:
        raise PrunusError(f"precision '{precision}' needs lightning-fabric: pip install 'prunus[lab]'.") from error
    devices = 1 if device.index is None else [device.index]
    with _warnings_alone("lightning_fabric"):  # it would tell which precision we asked for
        return Fabric(accelerator=device.type, devices=devices, precision=precision)  # type: ignore[arg-type]


@contextmanager
def _warnings_alone(name: str) -> Iterator[None]:
    """The logger `name` leaves out what is less than a warning."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(max(level, logging.WARNING))
    try:
        yield
    finally:
        logger.setLevel(level)


class _Batches:
    """The batch of step t: a function of the seed and t alone."""

    def __init__(self, data: Data, settings: Settings, seed: int, device: torch.device, host: _Host) -> None:
        self.device = device
        self.per_epoch = len(data.train) // settings.batch
        if self.per_epoch == 0:
            raise PrunusError(
                f"batch {settings.batch} is larger than the {len(data.train)} training rows of '{data.name}'."
            )
        if settings.batch % host.processes:
            raise PrunusError(f"batch {settings.batch} cannot be divided among {host.processes} processes.")
        self._split = data.train.to(device)
        self._augment = data.augment if settings.augment else None
        self._batch, self._seed, self._host = settings.batch, seed, host
        self._noise = _noise(device)
        self._epoch, self._order = -1, torch.empty(0)

    def __call__(self, step: int) -> tuple[Tensor, Tensor]:
        """Normalised inputs (B, C, H, W) and labels (B,); on the way, the noise of this step is seeded."""
        epoch, place = divmod(step, self.per_epoch)
        if epoch != self._epoch:
            generator = Generator().manual_seed(_derived(self._seed, "order", epoch))
            self._order = torch.randperm(len(self._split), generator=generator).to(self.device)
            self._epoch = epoch
        rank, processes = self._host.rank, self._host.processes
        rows = self._order[place * self._batch : (place + 1) * self._batch][rank::processes]
        self._noise.manual_seed(_derived(self._seed, "noise", step, rank))
        inputs = self._split.inputs.index_select(0, rows)
        if self._augment:
            inputs = self._augment(inputs, self._noise)
        return self._split.normalise(inputs), self._split.labels.index_select(0, rows)


def _derived(seed: int, purpose: str, *numbers: int) -> int:
    """A seed for one purpose and moment, unrelated to those of all others."""
    digest = hashlib.sha256(f"{seed} {purpose} {numbers}".encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def _noise(device: torch.device) -> Generator:
    """The generator that dropout on `device` draws from."""
    if device.type == "cuda":
        return torch.cuda.default_generators[device.index or 0]
    return torch.default_generator


@contextmanager
def _own_noise(device: torch.device) -> Iterator[None]:
    """torch's random state and choice of cuDNN algorithms: ours inside, the caller's again afterwards."""
    deterministic = torch.backends.cudnn.deterministic
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        try:
            torch.backends.cudnn.deterministic = True
            yield
        finally:
            torch.backends.cudnn.deterministic = deterministic


@contextmanager
def _rates(optimizer: Optimizer, settings: Settings, total: int) -> Iterator[Callable[[int], None]]:
    """A function that sets the learning rates of a step; afterwards they are the full ones again."""
    full = [group["lr"] for group in optimizer.param_groups]

    def set_share(share: float) -> None:
        for group, rate in zip(optimizer.param_groups, full, strict=True):
            group["lr"] = rate * share

    try:
        yield lambda step: set_share(settings.share_of_rate(step, total))
    finally:
        set_share(1.0)


class _Losses:
    """The losses of all steps; they wait on the device until a look at them costs little."""

    def __init__(self, per_epoch: int, host: _Host) -> None:
        self.waiting: list[Tensor] = []
        self.current: list[float] = []  # of the epoch that is not complete
        self.complete: list[float] = []  # the mean of each epoch before it
        self._per_epoch, self._host = per_epoch, host

    def add(self, value: Tensor) -> None:
        self.waiting.append(value.detach())

    @property
    def due(self) -> bool:
        """Whether it is time for a look; it comes at the same step in every process."""
        cheap = self._host.processes == 1 and self.waiting[-1].device.type == "cpu"
        return cheap or len(self.waiting) >= _LOOKED_AT_EVERY

    def look(self) -> tuple[int, float] | None:
        """Take the waiting losses in; the first that is not finite, with the number of steps since, if
        any."""
        if not self.waiting:
            return None
        values = self._host.mean(torch.stack(self.waiting)).tolist()
        self.waiting.clear()
        for number, value in enumerate(values):
            if not math.isfinite(value):
                return len(values) - 1 - number, value
            self.current.append(value)
            if len(self.current) == self._per_epoch:
                self.complete.append(math.fsum(self.current) / self._per_epoch)
                self.current.clear()
        return None

    @property
    def latest(self) -> str:
        """The last known loss, for a person to read."""
        known = self.current or self.complete
        return f"loss {known[-1]:.4f}" if known else ""

    def of_epochs(self) -> tuple[float, ...]:
        """The mean loss of each epoch; the last may be a part of one."""
        part = [math.fsum(self.current) / len(self.current)] if self.current else []
        return (*self.complete, *part)


def _diverged(step: int, bad: tuple[int, float], model: nn.Module, inputs: Tensor) -> DivergedError:
    ago, value = bad
    return DivergedError(f"the loss is {value} at step {step + 1 - ago}: {first_not_finite(model, inputs)}.")


@dataclass
class _Run:
    """One training run as a file knows it."""

    model: nn.Module
    optimizer: Optimizer
    stateful: Mapping[str, Stateful]
    losses: _Losses
    host: _Host
    identity: dict[str, Any]

    def resume(self, path: str | os.PathLike[str] | None, begin: int, last: int) -> int:
        """Note how this run starts, go to where the file at `path` left it, and tell after which step that is."""
        if path is None:
            return begin
        start = [self.model.state_dict(), self.optimizer.state_dict(), self._states()]
        self.identity |= {"start": fingerprint(start), "processes": self.host.processes}
        if not Path(path).exists():
            return begin
        snapshot = Snapshot.load(path)
        found = snapshot.order if isinstance(snapshot.order, dict) else {}
        for name, value in self.identity.items():
            if found.get(name) != value:
                raise PrunusError(
                    f"checkpoint '{path}' is of another run: its {name} is {found.get(name)}, not {value}."
                )
        if snapshot.step > last:
            raise PrunusError(f"checkpoint '{path}' is of step {snapshot.step}, beyond the last one here, {last}.")
        for name, holder in self.stateful.items():  # first, as it may decide of which layers the model is made
            holder.load_state_dict(snapshot.extra["stateful"][name])
        snapshot.restore(self.model, self.optimizer)
        if self.host.fabric is not None:
            self.host.fabric.strategy.precision.load_state_dict(snapshot.extra["precision"])
        self.losses.complete, self.losses.current = snapshot.extra["losses"]
        return snapshot.step

    def save(self, path: str | os.PathLike[str], step: int) -> None:
        if self.host.rank != 0:
            return
        extra = {
            "stateful": self._states(),
            "losses": [self.losses.complete, self.losses.current],
            "precision": self.host.fabric.strategy.precision.state_dict() if self.host.fabric else {},
        }
        Snapshot.take(self.model, self.optimizer, step=step, order=self.identity, extra=extra).save(path)

    def _states(self) -> dict[str, Any]:
        return {name: holder.state_dict() for name, holder in self.stateful.items()}


def fingerprint(state: Any) -> str:
    """A hash of nested tensors and plain values, by their bits."""
    digest = hashlib.sha256()

    def feed(value: Any) -> None:
        if isinstance(value, Tensor):
            digest.update(f"{value.dtype} {tuple(value.shape)} ".encode())
            digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
        elif isinstance(value, Mapping):
            feed([pair for pairs in value.items() for pair in pairs])
        elif isinstance(value, list | tuple):
            digest.update(f"{len(value)} ".encode())
            for part in value:
                feed(part)
        else:
            digest.update(f"{value!r} ".encode())

    feed(state)
    return digest.hexdigest()
