"""What a chunk says about itself."""

from __future__ import annotations


def chunk_labels(model: str, part: str, encoding: str, depth: int | None = None) -> dict[str, str]:
    """What a chunk says about itself in its metadata.

    Args:
        depth: of `statistics`.
    """
    labels = {"model": model, "part": part, "encoding": encoding}
    return labels if depth is None else labels | {"depth": str(depth)}
