"""Classify pictures while most of the network is still on its way, ask for more of it, then for less.

    airloom elastic keys publisher
    airloom elastic pack resnet20 --table table.json --key publisher.key
    airloom serve-model resnet20 --port 8080
    python examples/progressive_client.py http://127.0.0.1:8080/v1/models/resnet20 publisher.pub

The first argument may as well be any web server that has the folder, or the folder itself.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

import airloom
from airloom import zoo
from airloom.core.progressive import Configuration
from airloom.units import format_bytes, format_percent, parse_rate, parse_seconds


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", help="URL of the model, or its folder")
    parser.add_argument("key", type=Path, help="the publisher's public key")
    parser.add_argument(
        "--deadline", default="200 ms", help="the best that arrives within is what comes first (200 ms)"
    )
    parser.add_argument("--rate", default="4 Mbit/s", help="of the link, as far as you know (4 Mbit/s)")
    parser.add_argument("--pictures", type=int, default=100, help="at each stage (100)")
    args = parser.parse_args(argv)

    model = airloom.ProgressiveModel.open(
        args.source, key=args.key, deadline_s=parse_seconds(args.deadline), rate_bps=parse_rate(args.rate)
    )
    with model:  # fetches in the background until here it ends
        model.wait_ready(timeout_s=60)
        told("first that answers", model.configuration)
        told("in time", model.wait(timeout_s=60))
        classify(model, args.pictures)

        model.upgrade()  # to the best there is: only what is missing travels, and calls go on meanwhile
        classify(model, args.pictures, "while it arrives")
        told("best", model.wait(timeout_s=60))
        classify(model, args.pictures)

        few = model.manifest.order.depths[0]
        told("battery is low", model.shrink(few))  # at once, and without the network
        classify(model, args.pictures)


def told(when: str, now: Configuration | None) -> None:
    if now is not None:
        blocks = f"{now.depth} block{'s' * (now.depth != 1)}"
        print(f"{when}: {blocks} in {now.precision}, {format_bytes(now.nbytes)}")


def classify(model: airloom.ProgressiveModel, count: int, when: str = "") -> None:
    """Call the model picture by picture, as an application would, and print how often it was right."""
    images, labels = zoo.test_images()
    chosen = np.arange(count) % len(images)
    right = sum(int(model(torch.from_numpy(images[k : k + 1])).argmax()) == labels[k] for k in chosen)
    print(f"  {format_percent(right / count)} of {count} pictures right{', ' + when if when else ''}")


if __name__ == "__main__":
    main()
