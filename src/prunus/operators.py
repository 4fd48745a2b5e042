"""One name for what a traced network calls as a function, a method or a module: small letters, no underscores."""

from torch import fx, nn


def operator_name(node: fx.Node, network: nn.Module) -> str:
    """What `node` of a graph of `network` calls, as people write it: 'cat', 'LSTM'."""
    if node.op == "call_module":
        return type(network.get_submodule(str(node.target))).__name__
    return str(getattr(node.target, "__name__", node.target))


def plain_name(name: str) -> str:
    """The name by which this module has the operator that people write as `name`.

    >>> plain_name("LeakyReLU"), plain_name("leaky_relu_")
    ('leakyrelu', 'leakyrelu')
    """
    return name.lower().replace("_", "")
