"""The report's colours: each in a light and a dark scheme, told apart by people who see no red, no
green or no blue, and readable on its paper (WCAG 2.2 AA; a test computes it).

Figures are drawn in the light ones; what is written in their place are the names, as properties of
the style sheet, so one figure serves both schemes and the printer.
"""

from __future__ import annotations

COLOURS = {
    "paper": ("#ffffff", "#14171c"),
    "panel": ("#f5f6f8", "#1d2128"),
    "ink": ("#1a1d23", "#e9ebef"),
    "muted": ("#565e6b", "#a4adba"),
    "rule": ("#d5d9e0", "#343a45"),
    "secure": ("#0a5fae", "#70b7ff"),
    "cleartext": ("#a3460b", "#ffa561"),
    "with": ("#74389c", "#cfa4f5"),
    "without": ("#5b6572", "#98a3b1"),
    "margin": ("#dcefe3", "#1c3a2a"),
    "good": ("#12693a", "#6fd39a"),
    "doubt": ("#8a4b00", "#f2b45c"),
}
"""Name -> light, dark. `secure`, `cleartext`: whose scores; `with`, `without`: images with a label
and without; `margin`: the band of equivalence; `good`, `doubt`: an equivalence shown, or not.
"""

TEXT = ("ink", "muted", "secure", "cleartext", "with", "without", "good", "doubt")
"""Those that letters are set in, on `paper` and on `panel`."""


def light(name: str) -> str:
    """What a figure is drawn in."""
    return COLOURS[name][0]


def properties() -> dict[str, str]:
    """Colour as drawn -> as written into the page."""
    return {drawn: f"var(--{name})" for name, (drawn, _) in COLOURS.items()}
