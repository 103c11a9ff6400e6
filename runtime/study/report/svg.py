"""From a matplotlib figure to a picture inside the page: small, named for those who cannot see it,
in the page's own letters and colours, the same bytes each time.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import matplotlib
from markupsafe import Markup
from matplotlib.figure import Figure

from moiety.runtime.intake.text import printable
from moiety.runtime.study.report.palette import light, properties

INCH = 72
"""Points: a figure's size is in inches, everything in it in points, as pixels of the page."""

_STYLE: dict[Any, Any] = {
    "axes.edgecolor": light("muted"),
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.labelcolor": light("ink"),
    "axes.labelsize": 11,
    "axes.linewidth": 0.6,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.facecolor": "none",
    "font.size": 11,
    "grid.color": light("rule"),
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 11,
    "lines.linewidth": 1.4,
    "svg.fonttype": "none",
    "text.color": light("ink"),
    "text.parse_math": False,
    "xtick.color": light("muted"),
    "xtick.labelcolor": light("ink"),
    "xtick.labelsize": 10.5,
    "ytick.color": light("muted"),
    "ytick.labelcolor": light("ink"),
    "ytick.labelsize": 10.5,
}
_IN_THE_PAGE = properties()


@contextmanager
def drawing() -> Iterator[None]:
    """Inside it figures are made and drawn in the report's style, whatever the process's is."""
    with matplotlib.rc_context(), warnings.catch_warnings():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        # A browser has letters for every language; the font that sizes are measured in has not.
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        yield


def figure(width: int, height: int, arranged: bool = True) -> Figure:
    """An empty one, sizes in pixels of the page. `arranged`: what is in it moves until all fits."""
    return Figure(figsize=(width / INCH, height / INCH), layout="constrained" if arranged else None)


def picture(drawn: Figure, key: str, title: str, description: str) -> Markup:
    """The figure as an `<svg>`. `key`: no other picture of the page has it."""
    root = _without_namespaces(ElementTree.fromstring(_as_svg(drawn, key)))
    for each in [*root.findall("metadata"), *root.findall("defs[style]")]:
        root.remove(each)
    for element in root.iter():
        _simplify(element, key)
    width = root.get("viewBox", "").split()[2]
    names = {"title": title, "desc": description}
    root.attrib = {
        "viewBox": root.attrib["viewBox"],
        "role": "img",
        "aria-labelledby": " ".join(f"{key}-{name}" for name in names),
        "style": f"max-width: {1.3 * float(width):.0f}px",
    }
    for place, (name, text) in enumerate(names.items()):
        named = Element(name, {"id": f"{key}-{name}"})
        named.text = printable(text)
        root.insert(place, named)
    return Markup(ElementTree.tostring(root, encoding="unicode", short_empty_elements=True))


def _as_svg(drawn: Figure, key: str) -> bytes:
    buffer = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": key}):
        drawn.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()


def _without_namespaces(root: Element) -> Element:
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
        element.attrib = {name.rpartition("}")[2]: v for name, v in element.attrib.items()}
        element.text = (element.text or "").strip() or None
        element.tail = None
    return root


def _simplify(element: Element, key: str) -> None:
    """Names that only matplotlib needs, its fonts, digits nobody sees; colours by name."""
    attributes: dict[str, Any] = element.attrib
    if element.tag == "g":
        attributes.pop("id", None)
    elif "id" in attributes:
        attributes["id"] = f"{key}-{attributes['id']}"
    if "href" in attributes:
        attributes["href"] = f"#{key}-{attributes['href'].removeprefix('#')}"
    if "clip-path" in attributes:
        attributes["clip-path"] = attributes["clip-path"].replace("url(#", f"url(#{key}-")
    if "style" in attributes:
        attributes["style"] = _styled(attributes["style"])
    for name in ("d", "x", "y", "transform", "width", "height"):
        if name in attributes:
            attributes[name] = _short(attributes[name])
    if attributes.get("transform", "").startswith("rotate(0 "):
        del attributes["transform"]


def _styled(style: str) -> str:
    kept = (each.strip() for each in style.split(";"))
    text = ";".join(each for each in kept if each and not each.startswith("font-family"))
    return re.sub(r"#[0-9a-f]{6}", lambda found: _IN_THE_PAGE[found[0]], text)


def _short(numbers: str) -> str:
    """Hundredths of a pixel are enough."""
    text = re.sub(
        r"-?\d+\.\d+", lambda found: f"{float(found[0]):.2f}".rstrip("0").rstrip("."), numbers
    )
    return re.sub(r"(?<![\d.])-0(?![\d.])", "0", re.sub(r"\s*\n\s*", "", text)).strip()
