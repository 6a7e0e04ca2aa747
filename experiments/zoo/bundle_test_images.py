"""Write the 500 CIFAR-10 test images that the package carries (the first 500, in the set's own order).

python experiments/zoo/bundle_test_images.py --data package
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from cifar10 import load_cifar10

COUNT = 500


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the unpacked npm package")
    parser.add_argument("--out", type=Path, default=Path("src/airloom/zoo/data/cifar10_test500.npz"))
    args = parser.parse_args()
    _, _, images, labels = load_cifar10(args.data)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(args.out, images=images[:COUNT], labels=labels[:COUNT].astype(np.uint8))
    print(f"{args.out}: {COUNT} images, {args.out.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
