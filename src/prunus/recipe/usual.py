"""How the built-in networks are usually trained and compressed, where nothing else is said."""

from dataclasses import replace

from prunus.laboratory import Task
from prunus.recipe.deep_compression import Plan
from prunus.recipe.lottery_ticket import Hunt
from prunus.settings import Settings
from prunus.tree import weights


def usual_settings(model: str) -> Settings:
    """Training settings that suit `model`: Adam for LeNets and strangers, SGD for the networks of CIFAR papers."""
    if model.startswith(("resnet", "vgg")):
        return Settings(epochs=160, optimizer="sgd", learning_rate=0.1, weight_decay=1e-4, decay="cosine", augment=True)
    return Settings(epochs=10 if model == "lenet-5" else 30, learning_rate=2e-3, decay="cosine", augment=True)


def usual_plan(model: str) -> Plan:
    """A plan of compression that suits `model`: three rounds of pruning, which together take twice the dense epochs."""
    dense = usual_settings(model)
    epochs = dense.epochs or 1
    adam = Settings(epochs=1, learning_rate=3e-3, decay="cosine", augment=True)
    return Plan(
        density=0.025 if model == "lenet-5" else 0.035,
        dense=dense,
        retrain=replace(adam, epochs=max(1, 2 * epochs // 3)),
        tune=replace(adam, epochs=max(1, epochs // 6), learning_rate=1e-3),
    )


def demo_plan() -> Plan:
    """A plan that takes well under a minute on the digits that scikit-learn carries."""
    settings = Settings(epochs=60, batch=32, learning_rate=2e-3, decay="cosine")
    return Plan(density=0.08, dense=settings, retrain=settings, tune=replace(settings, epochs=10))


def ticket_task(model: str, data: str, start: str | None = None) -> Task:
    """A network that starts as in the papers on tickets: Glorot's normal weights, in ResNets and VGGs their own."""
    return Task.of(model, data, start=start or ("usual" if model.startswith(("resnet", "vgg")) else "glorot"))


def ticket_settings(model: str) -> Settings:
    """Training as in the papers on tickets: Frankle & Carbin 2019, figure 2; Frankle et al. 2020, table 1."""
    if model.startswith(("resnet", "vgg")):
        return Settings(
            epochs=160,
            optimizer="sgd",
            learning_rate=0.1,
            weight_decay=1e-4,
            decay="steps",
            augment=True,
        )
    rate, steps = {
        "conv-2": (2e-4, 20_000),
        "conv-4": (3e-4, 25_000),
        "conv-6": (3e-4, 30_000),
        "conv-8": (3e-4, 30_000),
    }.get(model, (1.2e-3, 50_000))
    return Settings(steps=steps, batch=60, learning_rate=rate)


def usual_hunt(task: Task, settings: Settings, *, rounds: int, keep: float) -> Hunt:
    """How the papers prune this network: ResNets and VGGs globally, others in each tensor, with what differs there.

    Of the others, the output layer loses half of what the rest does in a round, and so do the convolutions of Conv-2
    and Conv-4; those of Conv-6 lose three quarters of it.
    """
    if task.model.startswith(("resnet", "vgg")):
        return Hunt(task, settings, rounds, keep, scope="network")
    names = list(weights(task.network()))
    loss = 1 - keep
    convolutions = {"conv-2": 0.5, "conv-4": 0.5, "conv-6": 0.75}.get(task.model, 1.0)
    parts = {name: 1 - convolutions * loss for name in names if convolutions < 1 and name.startswith("convolutions")}
    parts[names[-1]] = 1 - loss / 2
    return Hunt(task, settings, rounds, keep, keeps=tuple(parts.items()))


def comparison_settings(task: Task) -> Settings:
    """As in the papers on tickets, but for five epochs, or 500 steps if that is more: what a laptop has time for."""
    settings = ticket_settings(task.model)
    rows = len(task.read().train)
    steps = max(500, 5 * (rows // settings.batch))
    return replace(settings, steps=min(steps, settings.steps_in_all(rows)), epochs=None)


def supermask_settings(model: str, method: str) -> Settings:
    """How scores of `model` are learned by "edge-popup", "bernoulli" or "gem-miner": by SGD, at the papers' rates.

    Zhou et al. 2019 take 2,000 epochs for Bernoulli masks, Ramanujan et al. 2020 100 for edge-popup, and Sreenivasan et
    al. 2022 150 for Gem-Miner, at a tenth of the rate here, in networks with BatchNorm.
    """
    normed = model.startswith(("resnet", "vgg"))
    if method == "bernoulli":
        return Settings(epochs=100, batch=250, optimizer="sgd", learning_rate=100.0, augment=normed)
    gems = method == "gem-miner"
    return Settings(
        epochs=100 if normed else 30,
        optimizer="sgd",
        learning_rate=1.0 if gems and not normed else 0.1,
        weight_decay=0.0 if gems else 1e-4,
        decay="cosine",
        augment=normed,
    )
