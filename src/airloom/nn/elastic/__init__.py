"""Networks that run at several depths: which blocks may be left out, and what runs in their place."""

from __future__ import annotations

from airloom.nn.elastic.blocks import Blocks, find_blocks
from airloom.nn.elastic.graphs import check_blocks, skip_blocks
from airloom.nn.elastic.model import ElasticModel, elastic
from airloom.nn.elastic.statistics import recalibrate

__all__ = ["Blocks", "ElasticModel", "check_blocks", "elastic", "find_blocks", "recalibrate", "skip_blocks"]
