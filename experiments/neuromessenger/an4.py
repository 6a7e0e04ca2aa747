"""CMU AN4 as log-mel pictures of one length.

Its 130 test utterances come from 10 speakers who are not in training. A further part, for calibration, is taken
from training by speaker: `held_out` speakers, spread over the sorted list, about 13 utterances each.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from speech import NUM_FRAMES, NUM_MELS
from torch import Tensor

RATE = 16_000
STEP = 160  # samples, 10 ms
WINDOW = 400
FFT = 512


class Utterances(NamedTuple):
    """`pictures: [N, 1, NUM_MELS, NUM_FRAMES]` float32; `frames` of each that hold sound; `texts` as spoken."""

    pictures: Tensor
    frames: NDArray[np.int64]
    texts: list[str]

    @property
    def num_cut(self) -> int:
        """How many utterances are longer than a picture and lose their end."""
        return int((self.frames > NUM_FRAMES).sum())


def mel_filters(count: int = NUM_MELS, low_hz: float = 20.0, high_hz: float = RATE / 2) -> Tensor:
    """Triangles equally spaced in mel (O'Shaughnessy 1987), `[count, FFT / 2 + 1]`."""
    mel = np.linspace(*(2595 * np.log10(1 + np.array([low_hz, high_hz]) / 700)), count + 2)
    hz = 700 * (10 ** (mel / 2595) - 1)
    bins = np.linspace(0, RATE / 2, FFT // 2 + 1)
    rise = (bins - hz[:-2, None]) / (hz[1:-1] - hz[:-2])[:, None]
    fall = (hz[2:, None] - bins) / (hz[2:] - hz[1:-1])[:, None]
    return torch.from_numpy(np.clip(np.minimum(rise, fall), 0, None).astype(np.float32))


def picture(sound: NDArray[np.float32], filters: Tensor) -> Tensor:
    """Log-mel picture `[NUM_MELS, frames]`; each frequency has mean 0 and deviation 1 over the utterance."""
    spectrum = torch.stft(torch.from_numpy(sound), FFT, STEP, WINDOW, torch.hann_window(WINDOW), return_complex=True)
    log_mel = torch.log(filters @ spectrum.abs().square() + 1e-6)
    return (log_mel - log_mel.mean(1, keepdim=True)) / (log_mel.std(1, keepdim=True) + 1e-3)


def load_an4(folder: Path, *, held_out: int = 8) -> dict[str, Utterances]:
    """`train`, `calibration` and `test`. Needs `soundfile`.

    Shorter utterances are followed by zeros, the mean of every frequency; longer ones lose their end.
    """
    import soundfile

    entries = json.loads((folder / "an4.json").read_text())
    sound, rate = soundfile.read(folder / "an4.flac", dtype="float32")
    if rate != RATE:
        raise ValueError(f"an4.flac: expected {RATE} samples a second, got {rate}")
    speakers = sorted({_speaker(e) for e in entries if e["split"] == "train"})
    apart = {speakers[k * len(speakers) // held_out] for k in range(held_out)}
    filters = mel_filters()
    parts: dict[str, list[tuple[Tensor, int, str]]] = {"train": [], "calibration": [], "test": []}
    for entry in entries:
        part = "test" if entry["split"] == "test" else "calibration" if _speaker(entry) in apart else "train"
        made = picture(sound[entry["start"] : entry["stop"]], filters)
        padded = torch.zeros(1, NUM_MELS, NUM_FRAMES)
        padded[0, :, : made.shape[1]] = made[:, :NUM_FRAMES]
        parts[part].append((padded, made.shape[1], entry["text"]))
    return {part: _together(found) for part, found in parts.items()}


def _together(found: list[tuple[Tensor, int, str]]) -> Utterances:
    pictures, frames, texts = zip(*found, strict=True)
    return Utterances(torch.stack(pictures), np.array(frames), list(texts))


def _speaker(entry: dict[str, str]) -> str:
    return entry["id"].split("-")[1]
