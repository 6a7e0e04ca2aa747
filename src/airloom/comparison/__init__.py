"""Run several schemes of placing a model on the same emulated network, and keep what came of it.

The result is a run folder (docs/formats.md): `run.json` with what was planned and predicted, and
each scheme's traces. `airloom report` reads it.
"""

from airloom.comparison.comparing import compare
from airloom.comparison.driving import Outcomes, Step, drive, restored
from airloom.comparison.recording import deal_traces, repaired_nbytes, run_record, scheme_record
from airloom.comparison.setting import AIRLOOM, Scheme, Setting

__all__ = [
    "AIRLOOM",
    "Outcomes",
    "Scheme",
    "Setting",
    "Step",
    "compare",
    "deal_traces",
    "drive",
    "repaired_nbytes",
    "restored",
    "run_record",
    "scheme_record",
]
