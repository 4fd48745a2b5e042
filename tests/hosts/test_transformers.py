"""A transformer of the transformers library, tiny and random: padded batches by name, pruned in blocks, in a file."""

from functools import partial

import pytest
import torch
from torch import nn

import prunus
from prunus import scope
from prunus.evidence import gradients, input_grams, input_norms
from prunus.layerwise import in_order, sparsegpt
from prunus.score import taylor, wanda
from prunus.tree import assign, plain_weights

transformers = pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def config():
    return transformers.BertConfig(
        vocab_size=40,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=12,
    )


@pytest.fixture
def model(config):
    torch.manual_seed(0)
    return transformers.BertModel(config, add_pooling_layer=False).eval()


@pytest.fixture(scope="module")
def sentences():
    torch.manual_seed(1)
    return [torch.randint(1, 40, (length,)) for length in (3, 9, 5, 7)]


def padded(sentences):
    ids = nn.utils.rnn.pad_sequence(sentences, batch_first=True)
    return transformers.BatchEncoding({"input_ids": ids, "attention_mask": (ids > 0).long()})


def test_padded_sentences_read_what_each_reads_alone(model, sentences):
    together = input_grams(model, [(padded(sentences), None)])
    alone = input_grams(model, [(sentence[None], None) for sentence in sentences])
    assert list(together) == [name for name in plain_weights(model) if "embeddings" not in name]
    for name, gram in alone.items():
        torch.testing.assert_close(together[name], gram, rtol=1e-4, atol=1e-4)
    norms = input_norms(model, [(padded(sentences), None)])
    for name, norm in norms.items():
        torch.testing.assert_close(norm[0], alone[name].diagonal().sqrt(), rtol=1e-4, atol=1e-4)


def test_blocks_pruned_two_of_four_come_back_from_a_file(model, config, sentences, tmp_path):
    encoded = padded(sentences)
    method = partial(sparsegpt, density=0.5, scope=scope.n_of_m(2, 4))
    moved, mask = in_order(model, [(encoded, None)], method, blocks=["encoder.layer.0", "encoder.layer.1"])
    assert all((kept.reshape(-1, 4).sum(1) == 2).all() for kept in mask.values())
    before = model(**encoded).last_hidden_state
    assign(model, moved)
    expected = model(**encoded).last_hidden_state
    assert not torch.equal(before, expected)
    prunus.save(model, tmp_path / "bert.prunus")
    again = prunus.load(tmp_path / "bert.prunus", transformers.BertModel(config, add_pooling_layer=False))
    assert torch.equal(again(**encoded).last_hidden_state, expected)


def test_scores_of_a_classifier(config, sentences):
    classifier = transformers.BertForSequenceClassification(config).eval()
    encoded, labels = padded(sentences), torch.tensor([0, 1, 1, 0])
    found = gradients(classifier, [(encoded, labels)], lambda o, y: nn.functional.cross_entropy(o.logits, y))
    classifier(**encoded, labels=labels).loss.backward()
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, classifier.get_parameter(name).grad)
    assert prunus.prune(classifier, taylor, 0.5, gradients=found, allow_empty=True).density == 0.5
    norms = input_norms(classifier, [(encoded, labels)])
    own = {name: weight for name, weight in plain_weights(classifier).items() if name in norms}
    mask = prunus.prune(own, wanda, 0.5, scope=scope.row, input_norms=norms)
    assert "classifier.weight" in mask
    assert mask.density == 0.5
