"""What people write: strict YAML in, core values out; an error names the place, `FILE: $.links[2].delay`."""

from airloom.config.changes import merged, parse_change
from airloom.config.dump import dump_topology
from airloom.config.run import RunConfig, Scheme, load_run
from airloom.config.topology import load_topology, parse_topology

__all__ = [
    "RunConfig",
    "Scheme",
    "dump_topology",
    "load_run",
    "load_topology",
    "merged",
    "parse_change",
    "parse_topology",
]
