"""A recurrent tagger, unrolled: one operator a step, so that it can be cut between steps.

`nn.GRU` is a single operator to `torch.export`: a network of one could only be moved whole.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class GRUTagger(nn.Module):
    """Gives every step of a sequence a tag.

    Takes float32 `[N, steps, features]`, or int64 `[N, steps]` when `tokens` is above 0; gives
    `[N, steps, num_tags]` logits. The steps are taken apart first: a cut between two steps then
    carries the hidden states, the inputs still to come and the tags already made.

    Each step is one recurrent module of HiveMind (section VI-A, Fig. 8): an embedding where there are
    tokens, `layers` GRU cells one on the other, and a linear layer.
    """

    def __init__(
        self,
        steps: int = 50,
        hidden: int = 64,
        *,
        features: int = 16,
        num_tags: int = 8,
        tokens: int = 0,
        layers: int = 1,
    ) -> None:
        super().__init__()
        self.steps, self.hidden = steps, hidden
        self.embedding = nn.Embedding(tokens, features) if tokens else None
        self.cell = nn.GRUCell(features, hidden)
        self.deeper = nn.ModuleList([nn.GRUCell(hidden, hidden) for _ in range(layers - 1)])
        self.tag = nn.Linear(hidden, num_tags)

    def forward(self, x: Tensor) -> Tensor:
        cells = [self.cell, *self.deeper]
        states = [self.cell.weight_hh.new_zeros(x.shape[0], self.hidden)] * len(cells)
        tags: list[Tensor] = []
        for step in x.unbind(1):
            value = step if self.embedding is None else self.embedding(step)
            for layer, cell in enumerate(cells):
                value = states[layer] = cell(value, states[layer])
            tags.append(self.tag(value))
        return torch.stack(tags, 1)


def gru_tagger(
    steps: int = 50, hidden: int = 64, features: int = 16, num_tags: int = 8, tokens: int = 0, layers: int = 1
) -> GRUTagger:
    """GRU of `layers` layers over `steps` steps, unrolled.

    `tokens` above 0 makes the inputs int64 tokens of that vocabulary, each embedded in `features` numbers.
    """
    return GRUTagger(steps, hidden, features=features, num_tags=num_tags, tokens=tokens, layers=layers)
