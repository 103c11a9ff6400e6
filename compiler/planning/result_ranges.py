"""Where the client may expect the revealed values: the calibrated range and the margin beyond it,
coarse enough to say little of the calibration images.
"""

from __future__ import annotations

import math

from moiety.compiler.ir.queries import output_layers
from moiety.compiler.planning.formats import Formats


def expected_integers(formats: Formats, output: str) -> tuple[int, int] | None:
    """The smallest and the largest, of the ring; None where nothing may be said of the calibration
    images, or these say nothing.
    """
    options = formats.options
    low = float(formats.ranges.low[output].min())
    high = float(formats.ranges.high[output].max())
    reach = max(-low, high)
    if options.disclose == "minimal" or not reach:
        return None
    sources = output_layers(formats.graph, output) or [output]
    margin = (max(map(options.headroom_of, sources)) - 1) * reach
    half, unit = 1 << (formats.bits(output) - 1), formats.output_unit
    return (
        max(-half, math.floor(-outward(margin - low) / unit)),
        min(half - 1, math.ceil(outward(high + margin) / unit)),
    )


def outward(magnitude: float) -> float:
    """Rounded up to two significant bits: 1, 1.5, 2, 3, 4, 6 and so on; 0 stays."""
    if magnitude == 0:
        return 0.0
    step = 2.0 ** (math.frexp(magnitude)[1] - 2)
    return math.ceil(magnitude / step) * step
