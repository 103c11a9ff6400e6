"""Margins: how far beyond its calibrated range each tensor keeps room, so that a new image leaves
any ring with a stated probability.

Each calibration image is left out in turn: by what part it exceeds the ranges of all others is one
observation of what the next image does. An image's *excess* is the largest over all channels of all
tensors, each tensor's in units of its own mean, so the probability is that of the whole network and
what depends on each other inside an image is no matter. Excesses are taken as exponential, the tail
of the Gumbel domain, and their mean as what it is, an estimate: k excesses that sum to S, of n
images, leave for the next one, with the scale-free prior of the mean,

    P(excess > x) = (k+1)/(n+1) * (1 + x/S)^-k

(the predictive distribution of an exponential, a Lomax). So few images pay for themselves, in bits.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from moiety.compiler.ir.graph import Graph
from moiety.compiler.ir.scales import propagate
from moiety.compiler.planning.class_ranges import TensorRule, tensor_rules
from moiety.compiler.planning.options import PlanOptions
from moiety.compiler.planning.ranges import Ranges
from moiety.protocols.arrays import F64

LEAST, MOST = 2.0, 32.0
"""Of the room that a ring has, as a multiple of the calibrated range. Beyond the most, images help
and bits do not.
"""

SPARED = 0.19
"""ln(1/p) / n at which a tenth of the margin pays for how uncertain n images leave the mean:
(e^y - 1) / y = 1.1.
"""


@dataclass(frozen=True)
class Tail:
    """What `images` observations say of the next: `exceeding` of them were above 0 and sum to
    `total`.
    """

    images: int
    exceeding: int
    total: float

    @classmethod
    def of(cls, excesses: F64) -> Tail:
        return cls(len(excesses), int((excesses > 0).sum()), float(excesses.clip(min=0).sum()))

    def probability(self, excess: float) -> float:
        """That of an excess above this one."""
        ever = (self.exceeding + 1) / (self.images + 1)
        return ever * (1 + excess / self.total) ** -self.exceeding if self.total > 0 else ever

    def quantile(self, probability: float) -> float:
        """The excess that is left with this probability; infinite if no image says."""
        ever = (self.exceeding + 1) / (self.images + 1)
        if probability >= ever:
            return 0.0
        if self.total == 0:
            return math.inf
        return self.total * math.expm1(math.log(ever / probability) / self.exceeding)


@dataclass(frozen=True, eq=False)
class Margins:
    """headroom: by value where a scale begins, the multiple of the calibrated range that is kept
    room for.
    """

    headroom: Mapping[str, float]

    @property
    def bits(self) -> int:
        """The usual one of them, in whole bits."""
        usual = np.mean(np.log2(list(self.headroom.values()))) if self.headroom else 0.0
        return max(1, round(float(usual)))


def images_wanted(probability: float) -> int:
    """From how many images on less than a tenth of the margin pays for their number."""
    return math.ceil(math.log(1 / probability) / SPARED)


def with_margins(graph: Graph, ranges: Ranges, options: PlanOptions) -> PlanOptions:
    """The options with the margins that meet their probability, where they state one. BadInput if
    the ranges do not say how images differ.
    """
    if options.overflow_probability is None:
        return options
    margins = fitted(graph, ranges, options, options.overflow_probability)
    return replace(options, margin_bits=margins.bits, headroom=margins.headroom)


def fitted(graph: Graph, ranges: Ranges, options: PlanOptions, probability: float) -> Margins:
    """The least margins with which an image overflows with at most this probability, as far as MOST
    allows.
    """
    found = _excesses(graph, ranges, options)
    scale = _scales(found)
    limit = _tail(found, scale).quantile(probability)
    if math.isinf(limit):
        return Margins(dict.fromkeys(found, MOST))
    kept = np.clip(1 + scale * limit, LEAST, MOST)
    return Margins(dict(zip(found, kept.tolist(), strict=True)))


def overflow_probability(graph: Graph, ranges: Ranges, options: PlanOptions) -> float:
    """That an image exceeds any tensor's headroom. BadInput if the ranges do not say."""
    found = _excesses(graph, ranges, options)
    scale = _scales(found)
    kept = [
        (options.headroom_of(value) - 1) / float(each)
        for value, each in zip(found, scale, strict=True)
        if each > 0
    ]
    return _tail(found, scale).probability(min(kept, default=0.0))


def _scales(excesses: Mapping[str, F64]) -> F64:
    """Each tensor's mean excess; at least the median tensor's, for a few images may know little of
    one.
    """
    means = np.array([found.mean() for found in excesses.values()])
    return np.maximum(means, np.median(means)) if len(means) else means


def _tail(excesses: Mapping[str, F64], scale: F64) -> Tail:
    """Of the largest excess in each image, each tensor's in its own scale."""
    scaled = [
        found / each for found, each in zip(excesses.values(), scale, strict=True) if each > 0
    ]
    images = len(next(iter(excesses.values()), ()))
    return Tail.of(np.max(scaled, axis=0) if scaled else np.zeros(images))


def _excesses(graph: Graph, ranges: Ranges, options: PlanOptions) -> dict[str, F64]:
    """By value where a scale begins, but for the image, which is clipped: by what part each image
    exceeds the range of all others, `(images,)`; 0 where it does not.
    """
    ranges.check_spread()
    rules = tensor_rules(graph, propagate(graph), options)
    return {
        value: _left_out(rule, value, ranges)
        for value, rule in rules.items()
        if value not in graph.inputs
    }


def _left_out(rule: TensorRule, value: str, ranges: Ranges) -> F64:
    low, high = ranges.low[value], ranges.high[value]
    low_image, high_image = ranges.low_image[value], ranges.high_image[value]
    excess = np.zeros(ranges.images)
    for image in np.unique(np.concatenate([low_image, high_image])).astype(int).tolist():
        reach, zero = rule.reach(
            np.where(low_image == image, ranges.second_low[value], low),
            np.where(high_image == image, ranges.second_high[value], high),
        )
        distance = np.maximum(
            np.where(high_image == image, high - zero, 0.0),
            np.where(low_image == image, zero - low, 0.0),
        )
        alone = np.where(distance > 0, MOST, 0.0)
        parts = np.divide(distance, reach, out=alone, where=reach > 0)
        excess[image] = np.clip(parts.max() - 1, 0, MOST - 1)
    return excess
