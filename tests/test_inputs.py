"""Norms and grams of inputs against the layers' own linear algebra."""

import pytest
import torch
from torch import nn

from prunus import inputs as module
from prunus.errors import PrunusError
from prunus.inputs import input_grams, input_norms

LAYERS = {
    "linear": (lambda: nn.Linear(4, 3), (4,)),
    "linear on tokens": (lambda: nn.Linear(4, 3), (5, 4)),
    "convolution": (lambda: nn.Conv2d(2, 4, (3, 2), stride=2, padding=(1, 0), dilation=(1, 2)), (2, 6, 7)),
    "same": (lambda: nn.Conv2d(2, 3, 3, padding="same"), (2, 4, 4)),
    "circular": (lambda: nn.Conv2d(2, 3, 3, padding=1, padding_mode="circular"), (2, 4, 4)),
    "groups": (lambda: nn.Conv2d(4, 6, 3, groups=2), (4, 5, 5)),
    "depthwise": (lambda: nn.Conv2d(3, 3, 2, groups=3), (3, 4, 4)),
}


@pytest.mark.parametrize("at_once", [1, 1 << 24])
@pytest.mark.parametrize("name", LAYERS)
def test_energy_of_the_outputs(monkeypatch, name, at_once):
    """||W X||^2 is tr(W G W^T) for any W, and for one weight alone its square times its input's squared norm."""
    monkeypatch.setattr(module, "AT_ONCE", at_once)
    torch.manual_seed(0)
    layer, rows = LAYERS[name][0]().double(), torch.randn(7, *LAYERS[name][1], dtype=torch.float64)
    layer.bias = None
    batches = [(some, None) for some in rows.split(3)]
    grams, norms = input_grams(layer, batches)["weight"], input_norms(layer, batches)["weight"]
    assert not layer._forward_pre_hooks
    groups = grams if grams.ndim == 3 else grams[None]
    parts = layer.weight.detach().flatten(1).chunk(len(groups))
    energy = sum(((part @ gram) * part).sum() for part, gram in zip(parts, groups, strict=True))
    torch.testing.assert_close(energy, layer(rows).square().sum().detach())
    index = layer.weight.numel() // 2
    with torch.no_grad():
        alone = torch.zeros_like(layer.weight)
        alone.view(-1)[index] = 2
        layer.weight.copy_(alone)
        found = float((alone * norms).square().sum())
        assert found == pytest.approx(float(layer(rows).square().sum()))


def test_shared_weights_read_all_that_their_layers_read_and_embeddings_nothing():
    network = nn.Sequential(nn.Embedding(6, 4), nn.Linear(4, 4, bias=False), nn.ReLU(), nn.Linear(4, 4, bias=False))
    network[3].weight = network[1].weight
    tokens = torch.tensor([[0, 1], [5, 2]])
    grams = input_grams(network, [(tokens, None)])
    assert list(grams) == ["1.weight"]
    first = network[0](tokens).reshape(-1, 4).detach().double()
    second = network[2](network[1](network[0](tokens))).reshape(-1, 4).detach().double()
    torch.testing.assert_close(grams["1.weight"], first.T @ first + second.T @ second)


class Classifier(nn.Module):
    """Reads tokens by name, as transformers do, and a pooled row of each sentence at its end."""

    def __init__(self):
        super().__init__()
        self.embedding, self.tokens, self.head = nn.Embedding(9, 4), nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, input_ids, attention_mask):
        return {"logits": self.head(self.tokens(self.embedding(input_ids))[:, 0] + attention_mask.sum())}


def test_padding_of_a_mapping_is_not_read():
    """As if each sentence came alone, without padding, but with the sum that the network makes of the mask."""
    network = Classifier()
    tokens, attended = torch.tensor([[1, 2, 3], [4, 0, 0], [0, 5, 6]]), torch.tensor([[1, 1, 1], [1, 0, 0], [0, 1, 1]])
    grams = input_grams(network, [({"input_ids": tokens, "attention_mask": attended}, None)])
    read = network.embedding(torch.tensor([1, 2, 3, 4, 5, 6])).detach().double()
    torch.testing.assert_close(grams["tokens.weight"], read.mT @ read)
    pooled = (network.tokens(network.embedding(tokens[:, 0])) + 6).detach().double()
    torch.testing.assert_close(grams["head.weight"], pooled.mT @ pooled)
    norms = input_norms(network, [({"input_ids": tokens, "attention_mask": attended}, None)])
    torch.testing.assert_close(norms["tokens.weight"], read.norm(dim=0)[None])


def test_sums_are_double_whatever_the_weights_are():
    layer = nn.Linear(1, 1, bias=False).bfloat16()
    rows = torch.ones(1000, 1, dtype=torch.bfloat16)  # a sum in bfloat16 stops at 256
    assert input_norms(layer, [(row[None], None) for row in rows])["weight"].square().item() == pytest.approx(1000)


def test_refusals():
    with pytest.raises(PrunusError, match="need at least one batch"):
        input_norms(nn.Linear(2, 2), [])
    with pytest.raises(PrunusError, match="need at least one batch, and a Linear or Conv2d"):
        input_norms(nn.ReLU(), [(torch.ones(1), None)])
    with pytest.raises(PrunusError, match="weight: the inputs hold NaN"):
        input_grams(nn.Linear(2, 2), [(torch.full((1, 2), torch.nan), None)])
