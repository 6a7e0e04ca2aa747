"""What a user waits for before anything happens: importing, help, planning from a profile file.

Whole processes, each beside the interpreter alone in the same run.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from harness import paired, report

EXAMPLES = Path(__file__).parent.parent / "examples"
AIRLOOM = (sys.executable, "-m", "airloom.cli.main")
PLAN = (*AIRLOOM, "plan", str(EXAMPLES / "figure2_profile.json"), str(EXAMPLES / "figure2.yaml"))


def process(*command: str) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def bare() -> None:
    process(sys.executable, "-c", "pass")


def main() -> None:
    imported = paired(bare, lambda: process(sys.executable, "-c", "import airloom"), repeats=9)
    report("import airloom, beyond the interpreter", 1e3 * (imported.second_s - imported.first_s), "ms", "<= 60")
    helped = paired(bare, lambda: process(*AIRLOOM, "plan", "--help"), repeats=5)
    report("airloom plan --help, whole process", helped.second_s, "s", "<= 0.3")
    report("airloom plan --help beside the interpreter alone", helped.ratio, "times")
    planned = paired(bare, lambda: process(*PLAN), repeats=5)
    report("airloom plan from a profile file, whole process", planned.second_s, "s", "<= 0.6")
    check = (
        f"import sys; from airloom.cli.main import main; main({list(PLAN[3:])!r}); assert 'torch' not in sys.modules"
    )
    process(sys.executable, "-c", check)


if __name__ == "__main__":
    main()
