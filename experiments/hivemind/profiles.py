"""Measures the profiles that the experiments stand on, anew.

    python experiments/hivemind/profiles.py                      # all, some minutes; torch is needed
    python experiments/hivemind/profiles.py gru200 --tries 5     # one, the quickest of five

Each is what `airloom profile` writes, with the options below. On a machine that others use, too, times come out too
long: of several tries the quickest is kept, that of the file as it was included.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path

from airloom.cli.main import main as airloom
from airloom.core.profile import Profile
from airloom.planner.inputs import load_profile

FOLDER = Path(__file__).parent / "profiles"
PICTURE = ("--option", "size=224")
CLASSES = (*PICTURE, "--option", "num_classes=1000")
TAGGER = ("steps=200", "hidden=300", "features=100", "num_tags=17", "tokens=20000", "layers=2")
#: What follows `airloom profile`.
MEASURED: dict[str, tuple[str, ...]] = {
    "resnet18": ("resnet18", *CLASSES),
    "vgg11": ("vgg11", *CLASSES),
    "rcnn": ("rcnn", *PICTURE),
    "resnet18-train": ("resnet18", *CLASSES, "--train", "sgd", "--batch", "8", "--seconds", "20"),
    "gru200": ("gru_tagger", *(part for option in TAGGER for part in ("--option", option)), "--seconds", "15"),
    **{
        f"qmix-h{hidden}-b{batch}": (
            "qmix_agent", "--option", "steps=60", "--option", f"hidden={hidden}", "--batch", str(batch),
        )
        for hidden in (64, 256)
        for batch in (1, 8, 32)
    },
}  # fmt: skip


def seconds(profile: Profile) -> float:
    """Of the whole model on the machine that it was measured on."""
    return profile.stage_constant_s + profile.stage_scale * sum(op.compute_s for op in profile.operators)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(MEASURED)} (all)")
    parser.add_argument("--tries", type=int, default=1, help="of which the quickest is kept (1)")
    parser.add_argument("--afresh", action="store_true", help="do not keep the file that is there, however quick")
    args = parser.parse_args()
    if unknown := set(args.names) - set(MEASURED):
        parser.error(f"no profile {', '.join(sorted(unknown))}: there are {', '.join(MEASURED)}")
    for name in args.names or MEASURED:
        kept = FOLDER / f"{name}.json"
        best = float("inf") if args.afresh or not kept.exists() else seconds(load_profile(kept))
        for _ in range(args.tries):
            with tempfile.TemporaryDirectory() as folder:
                found = Path(folder) / "profile.json"
                airloom(["profile", *MEASURED[name], "--out", str(found)])
                took = seconds(load_profile(found))
                if took < best:
                    best = took
                    shutil.copy(found, kept)
        print(f"{name}: {1e3 * best:.1f} ms")


if __name__ == "__main__":
    main()
