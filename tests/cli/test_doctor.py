"""`airloom doctor` on this machine, and on ones that lack something."""

from __future__ import annotations

import json
from importlib import metadata

import pytest

from airloom.cli import doctor
from airloom.cli.main import main


def test_this_machine(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["ready"] is True
    names = {f["what"] for f in report["findings"]}
    assert {
        "Python",
        "cores",
        "torch",
        "zenoh",
        "sealing (AES-GCM)",
        "UDP GSO",
        "UDP GRO",
        "TUN device",
        "GPU",
    } <= names
    for finding in report["findings"]:
        assert finding["state"] in ("ok", "missing", "weak")
        assert finding["found"]
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in names)


def _without(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    real = metadata.version

    def version(name: str) -> str:
        if name == missing:
            raise metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(doctor.metadata, "version", version)


def test_what_is_required(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    _without(monkeypatch, "eclipse-zenoh")
    assert main(["doctor"]) == 1
    out = capsys.readouterr().out
    assert "pip install eclipse-zenoh" in out
    assert "cannot work here without zenoh" in out


def test_what_is_optional(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    _without(monkeypatch, "torch")
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "pip install torch==2.13.0" in out
    assert "plan, relay and report" in out


def test_a_kernel_without_segmentation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_udp_option", lambda option, value: "Protocol not available")
    assert {f.state for f in doctor._udp()} == {"weak"}


def test_small_buffers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_read", lambda path: "212992")
    monkeypatch.setattr(doctor.os, "geteuid", lambda: 1000)
    findings = list(doctor._buffers())
    assert all(f.remedy.startswith("sudo sysctl -w net.core.") for f in findings)
