"""`airloom doctor`: what this machine has and lacks, and the command that mends each lack."""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any, Literal, NamedTuple

HELP = "say what this machine has and lacks, and the command that mends it"
EPILOG = """\
examples:
  airloom doctor
  airloom doctor --json

The exit code is 0 unless something that Airloom cannot do without is missing.
"""

State = Literal["ok", "missing", "weak"]

# Linux: <linux/udp.h>; Python's socket module does not have them.
_SOL_UDP, _UDP_SEGMENT, _UDP_GRO = 17, 103, 104
# A burst of 400 KB must fit while the process is scheduled away, kernel bookkeeping included.
_GOOD_BUFFER = 4 * 2**20
_BLOCK = 1200


class Finding(NamedTuple):
    """One thing looked at.

    Attributes:
        state: "ok"; "missing", or there but "weak".
        remedy: the command that mends it, "" where there is nothing to mend.
        required: Airloom can do nothing without it.
    """

    what: str
    state: State
    found: str
    remedy: str = ""
    required: bool = False


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")


def _python() -> Iterator[Finding]:
    version = platform.python_version()
    fits = (3, 11) <= sys.version_info[:2] <= (3, 13)
    remedy = "" if fits else "make PYTHON=python3.12 test   # with any Python from 3.11 to 3.13"
    yield Finding("Python", "ok" if fits else "weak", version, remedy)


def _cores() -> Iterator[Finding]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    found = f"{cores}" + (", fewer than the demo's stages want: its slow hosts sleep, so it fits" if cores < 4 else "")
    yield Finding("cores", "ok" if cores >= 2 else "weak", found)


def _packages() -> Iterator[Finding]:
    for package, module in (
        ("msgspec", "msgspec"), ("numpy", "numpy"), ("PyYAML", "yaml"), ("eclipse-zenoh", "zenoh"),
        ("cryptography", "cryptography"), ("matplotlib", "matplotlib"),
    ):  # fmt: skip
        yield _package(package, module, f"pip install {package}", required=True)
    yield _package(
        "torch", "torch", "pip install torch==2.13.0 'airloom[torch]'   # to capture, profile and run models"
    )
    yield _package("safetensors", "safetensors", "pip install 'airloom[torch]'   # weights")


def _package(package: str, module: str, remedy: str, *, required: bool = False) -> Finding:
    try:
        return Finding(module, "ok", metadata.version(package), required=required)
    except metadata.PackageNotFoundError:
        return Finding(module, "missing", "not installed", remedy, required)


def _sealing() -> Iterator[Finding]:
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    except ImportError:
        return
    cipher, block, rounds = AESGCM(bytes(32)), bytes(_BLOCK), 2000
    began = time.perf_counter()
    for k in range(rounds):
        cipher.encrypt(k.to_bytes(12, "big"), block, None)
    per_block_s = (time.perf_counter() - began) / rounds
    found = f"{1e6 * per_block_s:.1f} us a block, {8 * _BLOCK / per_block_s / 1e9:.1f} Gbit/s on one core"
    yield Finding("sealing (AES-GCM)", "ok" if per_block_s < 6e-6 else "weak", found)


def _udp_option(option: int, value: int) -> str:
    """ "" where the kernel takes the option, else its reason."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.setsockopt(_SOL_UDP, option, value)
        except OSError as error:
            return error.strerror or str(error)
    return ""


def _udp() -> Iterator[Finding]:
    for name, option, value in (("UDP GSO", _UDP_SEGMENT, _BLOCK), ("UDP GRO", _UDP_GRO, 1)):
        reason = _udp_option(option, value)
        found = f"no: {reason}; blocks then go one system call each" if reason else "yes"
        yield Finding(name, "weak" if reason else "ok", found)


def _read(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""


def _buffers() -> Iterator[Finding]:
    for name, key in (("receive buffer", "rmem_max"), ("send buffer", "wmem_max")):
        most = _read(f"/proc/sys/net/core/{key}")
        if not most.isdigit():
            continue
        found = f"at most {int(most) // 1024} KiB"
        if os.geteuid() == 0:
            yield Finding(name, "ok", found + "; root may exceed it")
        elif int(most) >= _GOOD_BUFFER:
            yield Finding(name, "ok", found)
        else:
            yield Finding(name, "weak", found, f"sudo sysctl -w net.core.{key}={2 * _GOOD_BUFFER}")


def _tun() -> Iterator[Finding]:
    try:
        from airloom.runtime.tun import available
    except ModuleNotFoundError:
        return  # A package that is required is missing: that has been said.
    reason = available()
    remedy = "run as root: sudo -E make bench   # only the comparison with TCP over an emulated link needs it"
    yield Finding("TUN device", "missing" if reason else "ok", reason or "yes", remedy if reason else "")


def _congestion() -> Iterator[Finding]:
    known = _read("/proc/sys/net/ipv4/tcp_available_congestion_control").split()
    if known:
        bbr = "bbr" in known
        remedy = "" if bbr else "sudo modprobe tcp_bbr   # only to compare with TCP BBR"
        yield Finding("TCP congestion control", "ok" if bbr else "weak", ", ".join(known), remedy)


def _gpu() -> Iterator[Finding]:
    tool = shutil.which("nvidia-smi")
    names = ""
    if tool is not None:
        asked = [tool, "--query-gpu=name", "--format=csv,noheader"]
        try:
            done = subprocess.run(asked, capture_output=True, text=True, timeout=5, check=False)
            names = ", ".join(done.stdout.split("\n")).strip(", ") if done.returncode == 0 else ""
        except (OSError, subprocess.TimeoutExpired):
            names = ""
    yield Finding("GPU", "ok" if names else "missing", names or "none: models run on the CPU")


def _clock() -> Iterator[Finding]:
    resolution = time.get_clock_info("monotonic").resolution
    late = []
    for _ in range(30):
        began = time.monotonic()
        time.sleep(2e-4)
        late.append(time.monotonic() - began - 2e-4)
    found = f"resolution {1e9 * resolution:.0f} ns, sleeping 0.2 ms is {1e3 * statistics.median(late):.2f} ms late"
    yield Finding("clock", "ok" if resolution <= 1e-6 and statistics.median(late) < 1e-3 else "weak", found)


CHECKS: tuple[Callable[[], Iterator[Finding]], ...] = (
    _python, _cores, _packages, _sealing, _udp, _buffers, _congestion, _tun, _gpu, _clock,
)  # fmt: skip


def examine() -> list[Finding]:
    """Look at everything; takes well under a second."""
    return [finding for check in CHECKS for finding in check()]


def run(args: argparse.Namespace) -> int:
    findings = examine()
    lacking = [f for f in findings if f.required and f.state == "missing"]
    if args.json:
        import json

        # Without msgspec there is still an answer.
        value: dict[str, Any] = {"ready": not lacking, "findings": [f._asdict() for f in findings]}
        print(json.dumps(value, indent=1))
        return 1 if lacking else 0
    from airloom.cli.terminal import style, table

    shown = {"ok": style("ok", "green"), "missing": style("--", "dim"), "weak": style("!!", "yellow")}
    rows = [(f.what, f.found) for f in findings]
    for finding, line in zip(findings, table(rows, align="ll").split("\n"), strict=True):
        mark = style("NO", "red") if finding.required and finding.state == "missing" else shown[finding.state]
        print(f"{mark}  {line}")
    remedies = [f for f in findings if f.remedy]
    if remedies:
        print("\nto mend:")
        print(table([(f"  {f.what}", f.remedy) for f in remedies], align="ll"))
    print()
    if lacking:
        print(f"Airloom cannot work here without {', '.join(f.what for f in lacking)}.")
        return 1
    torch = next(f for f in findings if f.what == "torch")
    ready = "plan, relay and report; running models needs torch" if torch.state != "ok" else "plan, run and report"
    print(f"This machine can {ready}.")
    return 0
