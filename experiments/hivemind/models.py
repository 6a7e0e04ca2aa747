"""The networks of the paper's section VII as the zoo has them: how many operators, what comes out of each.

    python experiments/hivemind/models.py            # writes models.json and models.md beside it

The paper counts layers as `torch.nn` modules that its hooks see and gives the mean size of their outputs. The input's
size it does not give: at 224x224 pixels the mean output of ResNet-18 is several times the 80 KB that it prints, so
other sizes are listed too. Sizes are those of float32, one picture or sequence at a time.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from torch import nn

from airloom import zoo
from airloom.nn.capture import capture
from airloom.nn.fold import find_modules

HERE = Path(__file__).parent

# The sequence labelling RNN: word vectors of 100 and 300 hidden units are those of the tutorial that the paper cites
# for the size of hidden states ([52], its train.py); 17 tags are CoNLL-2003's four kinds of names in the BIOES scheme.
TAGGER = {"steps": 200, "hidden": 300, "features": 100, "num_tags": 17, "tokens": 20000, "layers": 2}
NETWORKS: list[tuple[str, dict[str, int], str]] = [
    ("resnet18", {"size": 224, "num_classes": 1000}, "ResNet18"),
    ("resnet18", {"size": 96, "num_classes": 1000}, "ResNet18"),
    ("resnet18", {"size": 32}, "ResNet18"),
    ("vgg11", {"size": 224, "num_classes": 1000}, "VGG11"),
    ("vgg11", {"size": 96, "num_classes": 1000}, "VGG11"),
    ("vgg11", {"size": 32}, "VGG11"),
    ("rcnn", {"size": 224}, "R-CNN"),
    ("rcnn", {"size": 160}, "R-CNN"),
    ("gru_tagger", TAGGER, "GRU"),
    ("qmix_agent", {}, "QMIX"),
    ("qmix_agent", {"steps": 60}, "QMIX"),
]
# Section VII-B: layers, and mean layer output in KB; None where the paper says nothing.
PAPER: dict[str, tuple[int | None, float | None]] = {
    "ResNet18": (52, 80.0),
    "VGG11": (16, 356.0),
    "R-CNN": (None, 242.0),
    "GRU": (None, None),
    "QMIX": (None, None),
}


def described(name: str, options: dict[str, int], paper: str) -> dict[str, Any]:
    """One network's figures beside the paper's."""
    module = zoo.build(name, "random", **options)
    graph = capture(module, zoo.example_inputs(name, **options), name=name).graph
    outputs = [sum(graph.tensors[t].nbytes for t in op.outputs) for op in graph.operators]
    cuts = [graph.cut_nbytes(cut) for cut in range(graph.num_operators)]
    modules = find_modules(graph)
    return {
        "network": name,
        "options": options,
        "operators": graph.num_operators,
        "modules": sum(not list(m.children()) and not isinstance(m, nn.Identity) for m in module.modules()),
        "recurrent_modules": None if modules is None else modules.count,
        "operators_per_module": None if modules is None else modules.length,
        "mean_output_kb": round(sum(outputs) / len(outputs) / 1e3, 1),
        "mean_cut_kb": round(sum(cuts) / len(cuts) / 1e3, 1),
        "input_kb": round(graph.cut_nbytes(0) / 1e3, 1),
        "weights_mb": round(graph.parameter_nbytes(0, graph.num_operators) / 1e6, 2),
        "gmacs": round(sum(op.macs for op in graph.operators) / 1e9, 4),
        "paper": {"network": paper, "layers": PAPER[paper][0], "mean_output_kb": PAPER[paper][1]},
    }


def table(rows: list[dict[str, Any]]) -> str:
    """The figures in Markdown."""
    lines = [
        "| network | options | operators | mean output | mean cut | input | weights | G MACs | paper's layers "
        "| paper's mean output |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        options = ", ".join(f"{k}={v}" for k, v in row["options"].items()) or "-"
        paper = row["paper"]
        size = "-" if paper["mean_output_kb"] is None else f"{paper['mean_output_kb']:g} KB"
        lines.append(
            f"| {row['network']} | {options} | {row['operators']} | {row['mean_output_kb']:g} KB "
            f"| {row['mean_cut_kb']:g} KB | {row['input_kb']:g} KB | {row['weights_mb']:g} MB | {row['gmacs']:g} "
            f"| {paper['layers'] or '-'} | {size} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    rows = [described(*network) for network in NETWORKS]
    (HERE / "models.json").write_text(json.dumps(rows, indent=1) + "\n")
    (HERE / "models.md").write_text(table(rows))
    print(table(rows), end="")


if __name__ == "__main__":
    main()
