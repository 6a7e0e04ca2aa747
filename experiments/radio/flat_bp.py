"""Sionna's flooding belief propagation on edges without padding: the same sums, about ten times faster on a CPU.

`LDPCBPDecoder` pads each node's messages to the largest degree of the graph (30 for a 5G variable node
whose mean degree is 4.6). Here messages lie in one array [edge, code block], sorted by check node, and
code blocks that fulfil all parity checks leave early. `install()` puts it under `LDPC5GDecoder`, whose
rate recovery stays Sionna's; `check_flat_bp.py` compares both on noisy blocks.
"""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np
import torch
from sionna.phy.fec.ldpc.decoding import LDPCBPDecoder

_SMALLEST, _LARGEST = 8.5e-8, 16.635532  # where Sionna clips the argument of phi in float32
_CHECK_EVERY = 3
_graphs: weakref.WeakKeyDictionary[Any, _Graph] = weakref.WeakKeyDictionary()


class _Graph:
    """Edges sorted by (degree of the check node, check node)."""

    def __init__(self, decoder: LDPCBPDecoder) -> None:
        cn, vn = np.asarray(decoder._cn_idx), np.asarray(decoder._vn_idx)
        degree = np.bincount(cn)
        order = np.lexsort((cn, degree[cn]))
        self.vn = torch.tensor(vn[order].astype(np.int64))
        self.groups: list[tuple[int, int, int]] = []  # first edge, check nodes, degree
        start = 0
        for d in np.unique(degree[degree > 0]):
            nodes = int(np.sum(degree == d))
            self.groups.append((start, nodes, int(d)))
            start += nodes * int(d)
        by_vn = np.argsort(vn[order], kind="stable")
        self.by_vn = torch.tensor(by_vn.astype(np.int64))
        counts = np.bincount(vn[order], minlength=int(decoder._num_vns))
        self.offsets = torch.tensor(np.concatenate([[0], np.cumsum(counts)[:-1]]).astype(np.int64))


def _phi_(x: torch.Tensor) -> torch.Tensor:
    """phi(x) = -log tanh(x / 2) in place."""
    x.clamp_(_SMALLEST, _LARGEST).neg_().exp_()
    return torch.div(x + 1.0, 1.0 - x, out=x).log_()


def decode(decoder: LDPCBPDecoder, llr_ch: torch.Tensor, num_iter: int) -> torch.Tensor:
    """Hard decisions [blocks, num_vns] after at most `num_iter` flooding iterations on logits [blocks, num_vns]."""
    graph = _graphs.get(decoder)
    if graph is None:
        graph = _graphs[decoder] = _Graph(decoder)
    limit = float(decoder._llr_max)
    llr = (-llr_ch).clamp(-limit, limit).T.contiguous()  # [vn, blocks], log p(0)/p(1)
    decided = llr <= 0
    active = torch.arange(llr.shape[1])
    message = llr[graph.vn]
    for it in range(num_iter):
        for first, nodes, degree in graph.groups:
            part = message[first : first + nodes * degree].view(nodes, degree, -1)
            negative = torch.signbit(part)
            flip = (negative.sum(1, keepdim=True) % 2).bool() ^ negative
            part.abs_()
            _phi_(part)
            total = part.sum(1, keepdim=True)
            torch.sub(total, part, out=part)
            _phi_(part)
            part.clamp_(max=limit)
            torch.where(flip, -part, part, out=part)
        total = torch.nn.functional.embedding_bag(graph.by_vn, message, graph.offsets, mode="sum") + llr
        last = it == num_iter - 1
        if last or it % _CHECK_EVERY == _CHECK_EVERY - 1:
            bits = total <= 0
            decided[:, active] = bits
            if last:
                break
            failed = torch.zeros(bits.shape[1], dtype=torch.bool)
            on_edges = bits[graph.vn]
            for first, nodes, degree in graph.groups:
                odd = on_edges[first : first + nodes * degree].view(nodes, degree, -1).sum(1) % 2
                failed |= odd.bool().any(0)
            if not bool(failed.any()):
                break
            if int(failed.sum()) <= 0.75 * len(failed):
                active, llr, total, message = active[failed], llr[:, failed], total[:, failed], message[:, failed]
        torch.sub(total.clamp_(-1e6, 1e6)[graph.vn], message, out=message).clamp_(-limit, limit)
    return decided.T


def install() -> None:
    """Let every `LDPC5GDecoder` (hard output, flooding, boxplus-phi) decode with `decode`."""

    def call(self: LDPCBPDecoder, llr_ch: torch.Tensor, /, *, num_iter: int | None = None, msg_v2c: Any = None) -> Any:
        if not self._hard_out or self._return_state or self._scheduling != "flooding":
            raise ValueError("only hard output and flooding are made fast here")
        return decode(self, llr_ch, self._num_iter if num_iter is None else num_iter).to(self.dtype)

    LDPCBPDecoder.call = call
