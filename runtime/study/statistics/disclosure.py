"""What keeps a report from telling an image's score: the fewest images behind a number that is made
from scores themselves. Counts, ranks (an AUROC, also of one positive) and differences of secure and
cleartext are given as they are (docs/statistics.md).
"""

from __future__ import annotations

FEWEST = 10
"""Images behind a step of a curve, a mean of probabilities, a Brier score; of either class, where
scores are shown by class.
"""
GROUP = 40
"""Images behind one point of the plot of differences."""


def few(positives: int, negatives: int) -> str | None:
    """Why scores are not shown by class; None where both have enough images, or one has none."""
    if not 0 < positives < FEWEST and not 0 < negatives < FEWEST:
        return None
    return f"{positives} positives and {negatives} negatives: fewer than {FEWEST} of a class"
