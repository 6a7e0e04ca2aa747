"""Networks that the zoo does not have: a small vision transformer, and a ResNet with exits behind its groups."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from airloom import zoo
from airloom.zoo.pixels import NormalizePixels


class EncoderBlock(nn.Module):
    """Attention and two linear layers, each behind a layer norm and beside a shortcut. `[N, T, width]` to the same."""

    def __init__(self, width: int, heads: int, ratio: int = 2) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.up = nn.Linear(width, ratio * width)
        self.down = nn.Linear(ratio * width, width)

    def forward(self, x: Tensor) -> Tensor:
        n, tokens, width = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(n, tokens, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(n, tokens, width)
        x = x + self.out(mixed)
        result: Tensor = x + self.down(F.gelu(self.up(self.norm2(x))))
        return result


class PatchTransformer(nn.Module):
    """Transformer over 64 patches of 4x4 pixels; `[N, 3, 32, 32]` uint8 pixels, `[N, num_classes]` logits.

    Its form is ViT's with the mean of all tokens in place of a class token; 0.6 M parameters at 8 layers of 96.
    """

    def __init__(self, num_classes: int = 10, width: int = 96, layers: int = 8, heads: int = 4, patch: int = 4) -> None:
        super().__init__()
        self.pixels = NormalizePixels()
        self.embed = nn.Conv2d(3, width, patch, patch)
        self.place = nn.Parameter(torch.zeros(1, (32 // patch) ** 2, width))
        nn.init.trunc_normal_(self.place, std=0.02)
        self.blocks = nn.Sequential(*(EncoderBlock(width, heads) for _ in range(layers)))
        self.norm = nn.LayerNorm(width)
        self.fc = nn.Linear(width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.embed(self.pixels(x)).flatten(2).transpose(1, 2) + self.place
        logits: Tensor = self.fc(self.norm(self.blocks(tokens)).mean(1))
        return logits


class EarlyExits(nn.Module):
    """A ResNet with a linear exit behind each group, the last of which is its own (BranchyNet's form).

    `forward` gives the logits of every exit, the earliest first.
    """

    def __init__(self, name: str, num_classes: int) -> None:
        super().__init__()
        self.body = zoo.MODELS[name](num_classes=num_classes)
        widths = [group[-1].conv2.out_channels for group in self.body.groups]
        self.exits = nn.ModuleList(nn.Linear(width, num_classes) for width in widths[:-1])

    def forward(self, x: Tensor) -> list[Tensor]:
        return [self._head(k)(maps.mean(dim=(2, 3))) for k, maps in enumerate(self._groups(x, len(self.exits)))]

    def answer(self, x: Tensor, exit: int) -> Tensor:
        """The logits of this exit alone; nothing behind it runs."""
        *_, maps = self._groups(x, exit)
        logits: Tensor = self._head(exit)(maps.mean(dim=(2, 3)))
        return logits

    def parameters_until(self, exit: int) -> int:
        """What has to be there for an exit: all before it, with its own head and those before it."""
        parts: list[nn.Module] = [self.body.conv1, self.body.bn1, *list(self.body.groups)[: exit + 1]]
        parts += [self._head(k) for k in range(exit + 1)]
        return sum(p.numel() for part in parts for p in part.parameters())

    def _groups(self, x: Tensor, last: int) -> Iterator[Tensor]:
        x = F.relu(self.body.bn1(self.body.conv1(self.body.pixels(x))))
        for group in list(self.body.groups)[: last + 1]:
            x = group(x)
            yield x

    def _head(self, exit: int) -> nn.Module:
        return self.body.fc if exit == len(self.exits) else self.exits[exit]
