"""Train the AN4 speech network and write its weights as fp16 safetensors.

    python experiments/neuromessenger/train_speech.py --data an4 --epochs 60 --out an4.safetensors

AdamW under a one-cycle learning rate; utterances are sped up or slowed down by up to 12 % and lose random bands
of time and frequency (SpecAugment, Park et al. 2019). A checkpoint follows every epoch: the same command
resumes it. The JSON beside the weights records the word error rate of the fp16 weights on the 130 test utterances.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from pathlib import Path

import numpy as np
import torch
from an4 import Utterances, load_an4
from safetensors.torch import save_file
from speech import NUM_FRAMES, DeepSpeech2, decode_greedy, encode_text, word_error_rate
from torch import Tensor
from torch.nn import functional as F


def augment(picture: Tensor, frames: int, rng: np.random.Generator) -> Tensor:
    """One picture `[1, mels, NUM_FRAMES]` at another speed, begun elsewhere, with bands left out."""
    held = min(frames, NUM_FRAMES)
    target = min(NUM_FRAMES, int(held * rng.uniform(0.88, 1.12)))
    sound = F.interpolate(picture[..., :held], size=target, mode="linear")
    for _ in range(2):
        width, start = int(rng.integers(0, 10)), int(rng.integers(0, picture.shape[1] - 10))
        sound[:, start : start + width] = 0.0
        width = int(rng.integers(0, max(2, min(25, target // 8))))
        start = int(rng.integers(0, max(1, target - width)))
        sound[..., start : start + width] = 0.0
    out = torch.zeros_like(picture)
    shift = int(rng.integers(0, min(20, NUM_FRAMES - target + 1)))
    out[..., shift : shift + target] = sound
    return out


@torch.no_grad()
def measure(model: DeepSpeech2, part: Utterances) -> float:
    """Word error rate."""
    model.eval()
    heard = [t for k in range(0, len(part.texts), 32) for t in decode_greedy(model(part.pictures[k : k + 32]))]
    return word_error_rate(part.texts, heard)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of an4.flac and an4.json")
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()

    torch.manual_seed(args.seed)
    parts = load_an4(args.data)
    train = parts["train"]
    # What is cut may have lost words that its text still holds.
    usable = np.flatnonzero(train.frames <= NUM_FRAMES)
    targets = [torch.tensor(encode_text(text)) for text in train.texts]
    model = DeepSpeech2()
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.lr, weight_decay=1e-2)
    steps = -(-len(usable) // args.batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, args.lr, total_steps=args.epochs * steps, pct_start=0.2)
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
        for index in np.array_split(rng.permutation(usable), steps):
            pictures = torch.stack([augment(train.pictures[k], int(train.frames[k]), rng) for k in index])
            # Most batches need no more than their longest; the last third sees pictures as they are used.
            if epoch < args.epochs * 2 // 3:
                longest = max(int(1.12 * train.frames[k]) for k in index) + 20
                pictures = pictures[..., : min(NUM_FRAMES, -(-longest // 4) * 4)]
            output = model(pictures).transpose(0, 1)
            lengths = torch.full((len(index),), len(output))
            loss = F.ctc_loss(
                output, torch.cat([targets[k] for k in index]), lengths,
                torch.tensor([len(targets[k]) for k in index]), zero_infinity=True,
            )  # fmt: skip
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
            optimizer.step()
            schedule.step()
            total += loss.item()
        aside = checkpoint.with_suffix(".part")
        state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
        torch.save(state | {"schedule": schedule.state_dict(), "epoch": epoch}, aside)
        aside.replace(checkpoint)
        note = f"epoch {epoch + 1}/{args.epochs} loss {total / steps:.4f}"
        if (epoch + 1) % 5 == 0 or epoch + 1 == args.epochs:
            note += (
                f" WER calibration {measure(model, parts['calibration']):.4f} test {measure(model, parts['test']):.4f}"
            )
        print(f"{note} {time.monotonic() - started:.0f} s", flush=True)

    half = {k: v.half().contiguous() if v.is_floating_point() else v for k, v in model.state_dict().items()}
    model.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in half.items()})
    record = {
        "model": "deepspeech2",
        "dataset": "an4",
        "test_word_error_rate": measure(model, parts["test"]),
        "calibration_word_error_rate": measure(model, parts["calibration"]),
        "utterances": {name: {"count": len(p.texts), "cut": p.num_cut} for name, p in parts.items()},
        "parameters": sum(p.numel() for p in model.parameters()),
        "epochs": args.epochs,
        "batch": args.batch,
        "lr": args.lr,
        "seed": args.seed,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "command": f"python experiments/neuromessenger/train_speech.py --data {args.data.name} --epochs {args.epochs}"
        f" --batch {args.batch} --lr {args.lr} --seed {args.seed} --out {args.out.name}",
    }
    save_file(half, args.out)
    args.out.with_suffix(".json").write_text(json.dumps(record, indent=2) + "\n")
    print(json.dumps(record, indent=2))


if __name__ == "__main__":
    main()
