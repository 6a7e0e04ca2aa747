"""HTML and SVG as text: escaping, numbers that carry their basis, a small SVG writer."""

from __future__ import annotations

import html
import math
from collections.abc import Callable

from airloom.report.figure import Figure


def esc(text: object) -> str:
    """`text` safe between tags and in quoted attributes."""
    return html.escape(str(text), quote=True)


def number(figure: Figure | None, show: Callable[[float], str]) -> str:
    """A figure as `<data>`: what people read, the exact value, and its basis as class and title."""
    if figure is None:
        return '<span class="none">–</span>'
    basis = esc(figure.basis)
    return f'<data value="{figure.value!r}" class="{basis}" title="{basis}">{esc(show(figure.value))}</data>'


def colour(index: int) -> str:
    """The colour of the host at this place of the chain; eight, then again."""
    return f"var(--h{index % 8})"


def ticks(top: float, count: int = 6) -> list[float]:
    """About `count` round values from 0 up to `top`."""
    if not (top > 0 and math.isfinite(top)):
        return [0.0]
    rough = top / max(1, count)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= rough * 0.999)
    return [k * step for k in range(int(top / step + 1e-9) + 1)]


def _at(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


class Svg:
    """An SVG of `width` x `height` units, `label` for those who cannot see it."""

    def __init__(self, width: float, height: float, label: str) -> None:
        self.width, self.height, self.label = width, height, label
        self._parts: list[str] = []

    def rect(self, x: float, y: float, w: float, h: float, *, cls: str = "", fill: str = "", r: float = 0,
             title: str = "") -> None:  # fmt: skip
        style = f' style="fill:{fill}"' if fill else ""
        corner = f' rx="{_at(r)}"' if r else ""
        klass = f' class="{cls}"' if cls else ""
        body = f"><title>{esc(title)}</title></rect>" if title else "/>"
        self._parts.append(
            f'<rect x="{_at(x)}" y="{_at(y)}" width="{_at(max(w, 0))}" height="{_at(h)}"{corner}{klass}{style}{body}'
        )

    def line(self, x1: float, y1: float, x2: float, y2: float, cls: str) -> None:
        self._parts.append(f'<line x1="{_at(x1)}" y1="{_at(y1)}" x2="{_at(x2)}" y2="{_at(y2)}" class="{cls}"/>')

    def text(self, x: float, y: float, text: str, cls: str = "") -> None:
        klass = f' class="{cls}"' if cls else ""
        self._parts.append(f'<text x="{_at(x)}" y="{_at(y)}"{klass}>{esc(text)}</text>')

    def dot(self, x: float, y: float, r: float, cls: str) -> None:
        self._parts.append(f'<circle cx="{_at(x)}" cy="{_at(y)}" r="{_at(r)}" class="{cls}"/>')

    def path(self, d: str, cls: str, stroke: str = "") -> None:
        style = f' style="stroke:{stroke}"' if stroke else ""
        self._parts.append(f'<path d="{d}" class="{cls}"{style}/>')

    def curve(self, points: list[tuple[float, float]], cls: str, stroke: str = "") -> None:
        """Straight lines through the points."""
        self.path("M" + "L".join(f"{_at(x)} {_at(y)}" for x, y in points), cls, stroke)

    def diamond(self, x: float, y: float, r: float, cls: str) -> None:
        self.path(f"M{_at(x)} {_at(y - r)}l{_at(r)} {_at(r)} {_at(-r)} {_at(r)} {_at(-r)} {_at(-r)}z", cls)

    def render(self) -> str:
        """The SVG element."""
        return (
            f'<svg viewBox="0 0 {_at(self.width)} {_at(self.height)}" role="img" aria-label="{esc(self.label)}">'
            f"{''.join(self._parts)}</svg>"
        )
