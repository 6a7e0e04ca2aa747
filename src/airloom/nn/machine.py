"""What this machine is, as a profile records it."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import torch

from airloom.core.profile import Machine


def this_machine(threads: int, torch_device: torch.device) -> Machine:
    """The processor, cores this process may use, versions, and torch's device."""
    device = str(torch_device)
    if torch_device.type == "cuda":
        device = f"{torch_device} ({torch.cuda.get_device_name(torch_device)})"
    return Machine(
        cpu=_cpu(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 0,
        threads=threads,
        python=platform.python_version(),
        torch=str(torch.__version__),
        torch_device=device,
    )


def _cpu() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            key, _, value = line.partition(":")
            if key.strip() in ("model name", "Model", "cpu model"):
                return value.strip()
    except OSError:
        pass  # not Linux
    return platform.processor() or platform.machine()
