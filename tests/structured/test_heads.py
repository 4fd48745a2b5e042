"""Attention: heads are pruned by a mask, and shrinking is refused by name with the masked network left intact."""

import pytest
import torch
from torch import nn

from prunus.errors import PrunusError
from prunus.evidence import gradients, linear_error
from prunus.pattern import head
from prunus.pruning import prune
from prunus.scope import tensor
from prunus.score import relevance
from prunus.shrinking import shrink, wiring
from prunus.structured import GroupLasso, proximal
from prunus.tree import weights

INPUTS = torch.randn(3, 5, 8, generator=torch.Generator().manual_seed(0))


class Attention(nn.Module):
    """Four heads of two, written by hand, and a classifier."""

    def __init__(self):
        super().__init__()
        self.query, self.key, self.value, self.out = (nn.Linear(8, 8) for _ in range(4))
        self.classifier = nn.Linear(8, 3)

    def forward(self, tokens, gates=None):
        query, key, value = (
            layer(tokens).unflatten(2, (4, 2)).transpose(1, 2) for layer in (self.query, self.key, self.value)
        )
        mixed = nn.functional.scaled_dot_product_attention(query, key, value)  # (rows, heads, tokens, 2)
        mixed = mixed if gates is None else mixed * gates[:, None, None]
        return self.classifier(tokens + self.out(mixed.transpose(1, 2).flatten(2))).mean(1)


class BuiltIn(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention, self.classifier = nn.MultiheadAttention(8, 4, batch_first=True), nn.Linear(8, 3)

    def forward(self, tokens):
        return self.classifier(self.attention(tokens, tokens, tokens)[0]).mean(1)


def test_the_relevance_of_a_head_is_the_slope_at_its_gate():
    torch.manual_seed(0)
    model, labels = Attention().double(), torch.arange(3)
    found = gradients(model, [(INPUTS.double(), labels)], linear_error)
    score = relevance({"out.weight": model.out.weight.detach()}, {"out.weight": found["out.weight"]})["out.weight"]
    gates = torch.ones(4, dtype=torch.float64, requires_grad=True)
    (slopes,) = torch.autograd.grad(linear_error(model(INPUTS.double(), gates), labels), gates)
    torch.testing.assert_close(head(2, 1).atoms(score), -slopes, atol=1e-12, rtol=1e-10)


@pytest.mark.parametrize(("make", "words"), [(Attention, "Linear at 'query'"), (BuiltIn, "MultiheadAttention")])
def test_masked_heads_stay_masked_where_nothing_can_be_removed(make, words):
    torch.manual_seed(0)
    model = make().eval()
    name = "out.weight" if make is Attention else "attention.out_proj.weight"
    own = {name: weights(model)[name].detach()}
    mask = prune(own, lambda weights: {n: w.abs() for n, w in weights.items()}, 0.5, pattern=head(2, 1), scope=tensor)
    mask.apply_to(model)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with torch.no_grad():
        output = model(INPUTS)
    for refused in (lambda: shrink(model, mask, example=INPUTS), lambda: wiring(model, example=INPUTS)):
        with pytest.raises(PrunusError, match=f"{make.__name__} cannot be shrunk: .*({words})"):
            refused()
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    with torch.no_grad():
        assert torch.equal(model(INPUTS), output)
    if make is Attention:
        gates = mask[name].any(0).reshape(4, 2).all(1).float()
        assert gates.sum() == 2
        with torch.no_grad():
            torch.testing.assert_close(model(INPUTS, gates), output)


def test_a_lasso_on_heads():
    model = Attention()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    expected = proximal(model.out.weight.detach().clone(), head(2, 1), 0.05)
    GroupLasso(optimizer, {"out.weight": model.out.weight}, 0.5, pattern=head(2, 1))()
    torch.testing.assert_close(model.out.weight.detach(), expected)
