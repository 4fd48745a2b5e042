"""SparseGPT and Wanda of llm-compressor 0.8.1 on the same sentences, for `transformer.py --peer FOLDER`.

    python -m venv peer
    peer/bin/pip install torch==2.13.0 transformers==4.56.2 accelerate==1.10.1 datasets==4.1.1 \\
        loguru pydantic pyarrow frozendict
    peer/bin/pip install --no-deps llmcompressor==0.8.1 compressed-tensors==0.12.2 nvidia-ml-py
    peer/bin/python benchmarks/llm_compressor.py --model FOLDER --output FOLDER [--seeds 0 1 2] [--rows 128]

An environment of its own: it does not go together with newer versions of what prunus is tested with. Every layer is
measured in the dense model (the "basic" pipeline: the sequential one is for decoders), sentence by sentence, so without
padding. Writes the pruned matrices to SEED-METHOD-PATTERN.safetensors.
"""

import argparse
from pathlib import Path

import torch
from datasets import Dataset
from llmcompressor import oneshot
from llmcompressor.modifiers.pruning.sparsegpt import SparseGPTModifier
from llmcompressor.modifiers.pruning.wanda import WandaPruningModifier
from safetensors.torch import save_file
from transformers import AutoModel, AutoTokenizer

from sentences import drawn, read

METHODS = {"Wanda": WandaPruningModifier, "SparseGPT": SparseGPTModifier}
STRUCTURES = {"50 %": "0:0", "2:4": "2:4", "4:8": "4:8"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--rows", type=int, default=128)
    options = parser.parse_args()
    options.output.mkdir(exist_ok=True, parents=True)
    tokenizer = AutoTokenizer.from_pretrained(options.model)
    train, _ = read("train")
    for seed in options.seeds:
        encoded = Dataset.from_list([dict(tokenizer(text)) for text in drawn(train, options.rows, seed)])
        for method, modifier in METHODS.items():
            for pattern, structure in STRUCTURES.items():
                model = AutoModel.from_pretrained(options.model, add_pooling_layer=False).eval()
                oneshot(
                    model=model,
                    processor=tokenizer,
                    dataset=encoded,
                    recipe=modifier(sparsity=0.5, mask_structure=structure, targets=["Linear"]),
                    num_calibration_samples=options.rows,
                    pipeline="basic",
                )
                linear = {n: p.detach() for n, p in model.named_parameters() if "encoder" in n and p.ndim == 2}
                density = sum(int(torch.count_nonzero(w)) for w in linear.values()) / sum(
                    map(torch.numel, linear.values())
                )
                save_file(linear, options.output / f"{seed}-{method}-{pattern.replace(' ', '')}.safetensors")
                print(f"{seed} {method} {pattern}: density {density:.4f}", flush=True)


if __name__ == "__main__":
    main()
