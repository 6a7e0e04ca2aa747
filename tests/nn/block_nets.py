"""Small networks, each of a kind whose blocks must be found rightly."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Encoder(nn.Module):
    """Transformer layers over `[N, 5, 6]`."""

    def __init__(self, *, before: bool = False, tokens: int = 5) -> None:
        super().__init__()
        torch.manual_seed(0)
        layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.1, batch_first=True, norm_first=before)
        self.embed = nn.Linear(6, 8)
        self.places = nn.Parameter(torch.randn(tokens, 8))
        self.layers = nn.TransformerEncoder(layer, 3, enable_nested_tensor=False)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layers(self.embed(x) + self.places).mean(1))


class Decoder(nn.Module):
    """Two inputs; every layer reads the second one."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Linear(6, 8)
        self.layers = nn.TransformerDecoder(nn.TransformerDecoderLayer(8, 2, 16, dropout=0.0, batch_first=True), 2)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor, memory: Tensor) -> Tensor:
        return self.head(self.layers(self.embed(x), self.embed(memory)))


class Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.two(F.relu(self.one(x)))


class Chain(nn.Module):
    """Residual layers over `[N, 6]` in a list, by keyword; `early` gives the tensors between them as well."""

    def __init__(self, *, early: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.early = early
        self.first, self.last = nn.Linear(6, 8), nn.Linear(8, 3)
        self.middle = nn.ModuleList([Residual(8) for _ in range(3)])

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        x = self.first(x)
        between = []
        for layer in self.middle:
            x = layer(x=x)
            between.append(x)
        return (self.last(x), *between[::2]) if self.early else self.last(x)


class Tied(nn.Module):
    """Of four residual layers two share a weight and one runs twice."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Linear(6, 8), nn.Linear(8, 3)
        self.a, self.b, self.c, self.d = (Residual(8) for _ in range(4))
        self.b.one.weight = self.a.one.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.d(self.d(self.c(self.b(self.a(self.first(x)))))))


class Perceptron(nn.Module):
    """Four linear layers, functions between them."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b, self.c, self.d = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.d(F.relu(self.c(F.relu(self.b(F.relu(self.a(x)))))))


class Branches(nn.Module):
    """Shortcuts around bare layers, written in `forward`; over `[N, 6]`."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Linear(6, 8), nn.Linear(8, 3)
        self.a, self.b = nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        x = x + F.relu(self.a(x))
        return self.last(x + F.relu(self.b(x)))


class Gated(nn.Module):
    """Residual layers of two inputs of one form."""

    class Layer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.gate = nn.Linear(8, 8), nn.Linear(8, 8)

        def forward(self, x: Tensor, c: Tensor) -> Tensor:
            return x + self.one(x) * torch.sigmoid(self.gate(c))

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.beside, self.last = nn.Linear(6, 8), nn.Linear(6, 8), nn.Linear(8, 3)
        self.layers = nn.ModuleList([Gated.Layer() for _ in range(2)])

    def forward(self, x: Tensor) -> Tensor:
        x, c = self.first(x), self.beside(x)
        for layer in self.layers:
            x = layer(x, c)
        return self.last(x)


def _normed(maps_in: int, maps_out: int, kernel: int, stride: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(maps_in, maps_out, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(maps_out), nn.ReLU())


class Bottleneck(nn.Module):
    """Made of sequences that are alike: the block is what goes around them."""

    def __init__(self, maps_in: int, maps: int, maps_out: int, stride: int = 1) -> None:
        super().__init__()
        self.down = _normed(maps_in, maps, 1)
        self.here = _normed(maps, maps, 3, stride)
        self.up = _normed(maps, maps_out, 1)
        same = maps_in == maps_out and stride == 1
        self.project = None if same else nn.Conv2d(maps_in, maps_out, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = self.up(self.here(self.down(x)))
        return F.relu(y + (x if self.project is None else self.project(x)))


class Stage(nn.Module):
    """A class of its own for some blocks in a row."""

    def __init__(self, maps_in: int, maps_out: int, count: int, stride: int) -> None:
        super().__init__()
        self.smaller = nn.Conv2d(maps_in, maps_out, stride, stride)
        self.blocks = nn.ModuleList([Bottleneck(maps_out, 4, maps_out) for _ in range(count)])

    def forward(self, x: Tensor) -> Tensor:
        x = self.smaller(x)
        for block in self.blocks:
            x = block(x)
        return x


class Staged(nn.Module):
    """Takes `[N, 3, 8, 8]`."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stages = nn.Sequential(Stage(3, 8, 2, 1), Stage(8, 16, 3, 2))
        self.head = nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.stages(x).mean((2, 3)))


class Inverted(nn.Module):
    """MobileNet's block: without a shortcut where dimensions differ."""

    def __init__(self, maps_in: int, maps_out: int, stride: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(_normed(maps_in, 12, 1), _normed(12, 12, 3, stride), nn.Conv2d(12, maps_out, 1))
        self.around = maps_in == maps_out and stride == 1

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x) if self.around else self.layers(x)


class Mobile(nn.Module):
    """Takes `[N, 3, 8, 8]`; the maps of its blocks grow from 8 to 12 and shrink to 6."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.features = nn.Sequential(
            nn.Conv2d(3, 8, 3, 1, 1), Inverted(8, 8, 1), Inverted(8, 12, 2), Inverted(12, 12, 1), Inverted(12, 6, 1)
        )
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x).mean((2, 3)))


class Patches(nn.Module):
    """The first layer's input is a view of the convolution's output."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.patches = nn.Conv2d(3, 8, 4, 4)
        self.layers = nn.ModuleList([Residual(8) for _ in range(3)])
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        for layer in self.layers:
            x = layer(x)
        return self.head(x.mean(1))


def pictures(batch: int = 2, side: int = 8) -> tuple[Tensor, ...]:
    return (torch.randn(batch, 3, side, side, generator=torch.Generator().manual_seed(1)),)


def rows(batch: int = 2, *shape: int) -> tuple[Tensor, ...]:
    return (torch.randn(batch, *(shape or (6,)), generator=torch.Generator().manual_seed(1)),)
