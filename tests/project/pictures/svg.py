"""A picture as SVG text: boxes, words and arrows in a few styles, which follow light and dark. On
GitHub and in a browser the system's choice counts, on the site that of its switch.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

LIGHT = {
    "ink": "#1c2733",
    "soft": "#56646f",
    "line": "#8b99a6",
    "plain": "#eef2f5",
    "vendor": "#dbe9fb",
    "vendor-line": "#2f6fb3",
    "hospital": "#d3f0ea",
    "hospital-line": "#12766c",
    "secret": "#fbeccb",
    "secret-line": "#a06a00",
}
DARK = {
    "ink": "#e7edf3",
    "soft": "#a3b1be",
    "line": "#75838f",
    "plain": "#29323b",
    "vendor": "#1b3a5c",
    "vendor-line": "#82b5ec",
    "hospital": "#0f4a43",
    "hospital-line": "#62cfc0",
    "secret": "#51400f",
    "secret-line": "#e4bb55",
}
FILLS = ("plain", "vendor", "hospital", "secret")
SANS = 'system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif'
MONO = 'ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace'

Point = tuple[float, float]


class Picture:
    """Drawn from the top down on a canvas of `width` x `height`. `title` names it and `text` says
    what it shows, for those who do not see it.
    """

    def __init__(self, name: str, title: str, text: str, width: int, height: int) -> None:
        self.name, self.title, self.text = name, title, text
        self.width, self.height = width, height
        self._parts: list[str] = []

    def box(self, at: Point, size: Point, style: str = "plain", radius: float = 4) -> None:
        """A filled box; with the style `frame` or `dashed` an empty one."""
        (x, y), (w, h) = at, size
        self._parts.append(
            f'<rect class="{style}" x="{x:g}" y="{y:g}" width="{w:g}" height="{h:g}" '
            f'rx="{radius:g}"/>'
        )

    def words(self, at: Point, text: str, style: str = "", anchor: str = "start") -> None:
        """One line. Styles: head, soft, small, mono, bold, any fill's name for its colour; several
        with spaces between them.
        """
        aligned = "" if anchor == "start" else f' text-anchor="{anchor}"'
        styled = f' class="{style}"' if style else ""
        self._parts.append(
            f'<text x="{at[0]:g}" y="{at[1]:g}"{styled}{aligned}>{escape(text, quote=False)}</text>'
        )

    def labelled(self, at: Point, size: Point, text: str, style: str, words: str = "") -> None:
        """A box with a line in its middle."""
        self.box(at, size, style)
        middle = (at[0] + size[0] / 2, at[1] + size[1] / 2 + 4.5)
        self.words(middle, text, words, "middle")

    def arrow(self, points: Sequence[Point], style: str = "") -> None:
        """From the first point to the last. Styles: vendor, hospital, dotted."""
        path = "M" + " L".join(f"{x:g},{y:g}" for x, y in points)
        marker = f"url(#{self.name}-head)"
        self._parts.append(f'<path class="arrow {style}" d="{path}" marker-end="{marker}"/>')

    def line(self, start: Point, end: Point, style: str = "rule") -> None:
        self._parts.append(
            f'<line class="{style}" x1="{start[0]:g}" y1="{start[1]:g}" '
            f'x2="{end[0]:g}" y2="{end[1]:g}"/>'
        )

    def svg(self) -> str:
        """The whole file."""
        name = self.name
        return "\n".join(
            [
                f'<svg xmlns="http://www.w3.org/2000/svg" class="mp" role="img" '
                f'viewBox="0 0 {self.width} {self.height}" '
                f'aria-labelledby="{name}-title {name}-text">',
                f'<title id="{name}-title">{escape(self.title)}</title>',
                f'<desc id="{name}-text">{escape(self.text)}</desc>',
                f"<style>{_style()}</style>",
                f'<defs><marker id="{name}-head" viewBox="0 0 10 10" refX="9" refY="5" '
                'markerWidth="7" markerHeight="7" orient="auto-start-reverse">'
                '<path class="tip" d="M0,0 L10,5 L0,10 z"/></marker></defs>',
                *self._parts,
                "</svg>",
                "",
            ]
        )


def _style() -> str:
    """The same in every picture."""
    colours = "".join(
        f".mp .{fill}{{fill:var(--{fill})}}"
        f".mp rect.{fill}{{stroke:var(--{'line' if fill == 'plain' else fill + '-line'})}}"
        for fill in FILLS
    )
    words = "".join(
        f".mp text.{fill}{{fill:var(--{fill}-line)}}.mp .arrow.{fill}{{stroke:var(--{fill}-line)}}"
        for fill in FILLS[1:]
    )
    return (
        f".mp{{{_variables(LIGHT)}}}"
        f"@media (prefers-color-scheme:dark){{.mp{{{_variables(DARK)}}}}}"
        f"[data-md-color-scheme=default] .mp{{{_variables(LIGHT)}}}"
        f"[data-md-color-scheme=slate] .mp{{{_variables(DARK)}}}"
        f".mp text{{font:14px {SANS};fill:var(--ink)}}"
        f".mp .mono{{font-family:{MONO};font-size:13px}}"
        ".mp .head{font-size:17px;font-weight:600}.mp .bold{font-weight:600}"
        ".mp .small{font-size:12px}.mp .tiny{font-size:11px}"
        ".mp text.soft{fill:var(--soft)}"
        ".mp rect{stroke-width:1}"
        ".mp .frame{fill:none;stroke:var(--line)}"
        ".mp .dashed{fill:none;stroke:var(--line);stroke-dasharray:4 4}"
        ".mp .rule{stroke:var(--line);stroke-width:1}"
        ".mp .faint{stroke:var(--line);stroke-width:1;opacity:.35}"
        ".mp .arrow{fill:none;stroke:var(--soft);stroke-width:1.6}"
        ".mp .arrow.dotted{stroke-dasharray:2 4}"
        ".mp .tip{fill:context-stroke;stroke:none}"
        f"{colours}{words}"
    )


def _variables(colours: dict[str, str]) -> str:
    return "".join(f"--{name}:{value};" for name, value in colours.items())
