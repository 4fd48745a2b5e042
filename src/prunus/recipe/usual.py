"""How the built-in networks are usually trained and compressed, where nothing else is said."""

from dataclasses import replace

from prunus.recipe.deep_compression import Plan
from prunus.settings import Settings


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
