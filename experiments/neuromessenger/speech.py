"""A small DeepSpeech2 (Amodei et al. 2015): two convolutions over a log-mel picture, bidirectional GRUs, CTC.

The picture is made outside the network, so that a captured graph holds the network alone: what a phone would
send at cut 0 is the picture.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

ALPHABET = "_ ABCDEFGHIJKLMNOPQRSTUVWXYZ"  # `_` is CTC's blank
NUM_MELS = 64
NUM_FRAMES = 560  # 5.6 s in steps of 10 ms


class DeepSpeech2(nn.Module):
    """Takes log-mel pictures `[N, 1, NUM_MELS, frames]`, gives log probabilities `[N, frames / 4, letters]`.

    Both convolutions halve time and frequency. `hidden` counts one direction of a GRU.
    """

    def __init__(self, maps: int = 32, hidden: int = 192, letters: int = len(ALPHABET)) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, maps, (21, 11), stride=2, padding=(10, 5), bias=False)
        self.bn1 = nn.BatchNorm2d(maps)
        self.conv2 = nn.Conv2d(maps, maps, (5, 7), stride=2, padding=(2, 3), bias=False)
        self.bn2 = nn.BatchNorm2d(maps)
        self.gru1 = nn.GRU(maps * NUM_MELS // 4, hidden, batch_first=True, bidirectional=True)
        self.bn3 = nn.BatchNorm1d(2 * hidden)
        self.gru2 = nn.GRU(2 * hidden, hidden, batch_first=True, bidirectional=True)
        self.bn4 = nn.BatchNorm1d(2 * hidden)
        self.fc1 = nn.Linear(2 * hidden, hidden)
        self.fc2 = nn.Linear(hidden, letters)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.bn1(self.conv1(x)))
        x = torch.relu(self.bn2(self.conv2(x)))
        x = x.flatten(1, 2).transpose(1, 2)  # [N, time, maps * frequency]
        x, _ = self.gru1(x)
        x = self.bn3(x.transpose(1, 2)).transpose(1, 2)
        x, _ = self.gru2(x)
        x = self.bn4(x.transpose(1, 2)).transpose(1, 2)
        return torch.log_softmax(self.fc2(torch.relu(self.fc1(x))), dim=-1)


def encode_text(text: str) -> list[int]:
    """Letters as places in `ALPHABET`."""
    return [ALPHABET.index(letter) for letter in text]


def decode_greedy(log_probabilities: Tensor) -> list[str]:
    """The most likely letter of each step, runs made one and blanks left out; `[N, time, letters]` -> N texts."""
    texts = []
    for steps in log_probabilities.argmax(-1).tolist():
        kept = [k for k, before in zip(steps, [0, *steps[:-1]], strict=True) if k not in (0, before)]
        texts.append(" ".join("".join(ALPHABET[k] for k in kept).split()))
    return texts


def word_errors(reference: str, heard: str) -> int:
    """Least number of words to insert, delete or change (Levenshtein) that makes `heard` of `reference`."""
    words = heard.split()
    row = list(range(len(words) + 1))
    for i, word in enumerate(reference.split(), 1):
        corner, row[0] = row[0], i
        for j, other in enumerate(words, 1):
            corner, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, corner + (word != other))
    return row[-1]


def word_error_rate(references: Sequence[str], heard: Sequence[str]) -> float:
    """Word errors over all texts by words spoken; may exceed 1."""
    errors = sum(word_errors(a, b) for a, b in zip(references, heard, strict=True))
    return errors / sum(len(a.split()) for a in references)
