"""What the statistics say of a study: the numbers of the report, ready for JSON.

Aggregates alone: no field names a file or a patient, none has a value for each image. `site` is
None for all images together. `low` and `high` are the ends of a 95 % interval wherever nothing else
is said. What could not be computed is None, and `reason` says why.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from moiety.runtime.program.policy import Reveal

FORMAT = "moiety-analysis"
VERSION = 1

Unit = Literal["patient", "image"]


class Interval(msgspec.Struct, frozen=True, kw_only=True):
    """Of 95 %, both ends in."""

    low: float
    high: float


class Proportion(msgspec.Struct, frozen=True, kw_only=True):
    """`hits` of `total`, with Wilson's interval; value and interval None where the total is 0."""

    hits: int
    total: int
    value: float | None
    low: float | None
    high: float | None


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """Of one label in one place: `images` with a score there, of them `positives`, `negatives` and
    `unknown`. `outside_negatives`: the site has none of its own, `negatives` are those of all
    other sites, and the AUROC is confounded by site.
    """

    label: str
    site: str | None
    images: int
    positives: int
    negatives: int
    unknown: int
    outside_negatives: bool = False


class Area(msgspec.Struct, frozen=True, kw_only=True):
    """AUROC with DeLong's standard error, None where a class has one image. `interval`: which rule
    gave low and high, "logit" (DeLong on the logit scale) or "newcombe" (where DeLong's error is 0,
    as at exactly 0 and 1, or unknown). `resampled`: percentile interval of the bootstrap, None
    where too few resamples have both classes.
    """

    auroc: float
    standard_error: float | None
    low: float
    high: float
    interval: Literal["logit", "newcombe"]
    resampled: Interval | None = None


class Equivalence(msgspec.Struct, frozen=True, kw_only=True):
    """Two one-sided tests of the difference against `margin` at 5 %: `p_lower` against a difference
    of -margin or less, `p_upper` against +margin or more, `p` the larger of the two;
    `low_90`, `high_90`: the 90 % interval, which lies within the margin where `equivalent`.
    `statement`: that, as a sentence.
    """

    margin: float
    low_90: float
    high_90: float
    p_lower: float
    p_upper: float
    p: float
    equivalent: bool
    statement: str


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """AUROC secure minus cleartext on the same images: DeLong's paired test. `standard_error`: 0
    where no pair changed places; `low`, `high` and `equivalence` then are those of a single pair
    that did. `p_holm`: adjusted for all labels over all images (Holm), None at single sites.
    `resampled`: of the difference.
    """

    difference: float
    standard_error: float
    low: float
    high: float
    z: float
    p: float
    p_holm: float | None
    resampled: Interval | None
    equivalence: Equivalence


class Discrimination(msgspec.Struct, frozen=True, kw_only=True):
    """One label in one place. `secure` None: `reason`, for example one class only. `cleartext` and
    `comparison`: None without reference scores.
    """

    counts: Counts
    secure: Area | None = None
    cleartext: Area | None = None
    comparison: Comparison | None = None
    reason: str | None = None


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Bland and Altman of secure minus cleartext: `bias` and limits of agreement (1.96 standard
    deviations to either side), each with its interval; for limits Bland and Altman's approximation.
    """

    bias: float
    bias_interval: Interval
    standard_deviation: float
    lower: float
    lower_interval: Interval
    upper: float
    upper_interval: Interval


class Agreement(msgspec.Struct, frozen=True, kw_only=True):
    """Secure and cleartext scores of the same `images`, labels unknown or not; of all labels
    together each image has several. `largest`, `rms`: of the difference; `quantiles`: of its size,
    by probability. `correlation`: Pearson's, None where one of the two is constant. `ks`:
    Kolmogorov and Smirnov's statistic, with its p, which assumes independent samples that these are
    not (`Analysis.methods["ks"]`).
    """

    label: str
    images: int
    largest: float
    rms: float
    quantiles: dict[str, float]
    correlation: float | None
    ks: float
    ks_p: float
    limits: Limits | None


class Curve(msgspec.Struct, frozen=True, kw_only=True):
    """ROC of one label over all images on a grid of false positive rates, for drawing alone. Empty
    where a class has too few images, so that a step would be one of them: `reason`.
    """

    label: str
    false_positive_rate: tuple[float, ...] = ()
    secure: tuple[float, ...] = ()
    cleartext: tuple[float, ...] | None = None
    reason: str | None = None


class Histogram(msgspec.Struct, frozen=True, kw_only=True):
    """Images by score, in bins that secure and cleartext share; `edges` has one more. The first
    and the last bin are open: what is beyond the edges is in them. `reason`: why positives and
    negatives are among the unknown, a class having too few images to be shown apart; or, without
    edges, why there is no histogram.
    """

    label: str
    edges: tuple[float, ...] = ()
    secure_positives: tuple[int, ...] = ()
    secure_negatives: tuple[int, ...] = ()
    secure_unknown: tuple[int, ...] = ()
    cleartext: tuple[int, ...] | None = None
    reason: str | None = None


class Differences(msgspec.Struct, frozen=True, kw_only=True):
    """Secure minus cleartext: a histogram (`edges`, `counts`; first and last bin open), and by
    groups of equally many images in order of the mean of the two (`means`, the groups' middles) the
    differences' `low` (5 %), `median`, `high` (95 %): what a plot of Bland and Altman shows,
    without a point per image.
    """

    label: str
    edges: tuple[float, ...]
    counts: tuple[int, ...]
    means: tuple[float, ...]
    low: tuple[float, ...]
    median: tuple[float, ...]
    high: tuple[float, ...]


class CalibrationBin(msgspec.Struct, frozen=True, kw_only=True):
    """Images whose probability is in [`low`, `high`): the `predicted` mean, None where these are so
    few that it would tell theirs, and the `observed` positives.
    """

    low: float
    high: float
    predicted: float | None
    observed: Proportion


class Calibration(msgspec.Struct, frozen=True, kw_only=True):
    """Of one label over all images of known truth. `brier`: score, with its bootstrap interval;
    `cleartext_brier` likewise. `bins`: those with images, of ten equally wide.
    """

    label: str
    images: int
    brier: float | None = None
    brier_interval: Interval | None = None
    cleartext_brier: float | None = None
    cleartext_brier_interval: Interval | None = None
    bins: tuple[CalibrationBin, ...] = ()
    reason: str | None = None


class Decided(msgspec.Struct, frozen=True, kw_only=True):
    """What a decision, or being the largest score, is worth against the truth."""

    sensitivity: Proportion
    specificity: Proportion
    positive_predictive_value: Proportion
    negative_predictive_value: Proportion


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """One label in one place, where scores are decisions or choices, or decisions are counted.
    `secure` None: too few images for the policy. `agreeing`: images where secure and cleartext
    decide alike. `reason`: that, or which class is missing.
    """

    counts: Counts
    secure: Decided | None
    cleartext: Decided | None = None
    agreeing: Proportion | None = None
    reason: str | None = None


class TopOne(msgspec.Struct, frozen=True, kw_only=True):
    """Of choices, over images with exactly one positive label and no unknown one; the others
    are `unsuitable`. `confusion`: a row for each true label, a column for each label that was
    largest.
    """

    images: int
    unsuitable: int
    accuracy: Proportion
    recall: dict[str, Proportion]
    confusion: tuple[tuple[int, ...], ...]
    cleartext_accuracy: Proportion | None
    agreeing: Proportion | None


class Spread(msgspec.Struct, frozen=True, kw_only=True):
    """Over images."""

    median: float
    lower_quartile: float
    upper_quartile: float
    total: float


class PerImage(msgspec.Struct, frozen=True, kw_only=True):
    """What an image took the client: wall seconds, CPU seconds of both parties, bytes, flights."""

    site: str | None
    images: int
    seconds: Spread
    client_cpu: Spread
    server_cpu: Spread
    sent: Spread
    received: Spread
    flights: Spread


class KindCost(msgspec.Struct, frozen=True, kw_only=True):
    """Of one kind of step, the client's cost per image, and its share of all seconds."""

    kind: str
    seconds: float
    share: float
    cpu_seconds: float
    sent: float
    received: float
    flights: float


class ResourceUse(msgspec.Struct, frozen=True, kw_only=True):
    """What the study took; this part alone differs between two runs of one study. `begun`: UTC.
    Memory: peak resident bytes of one process.
    """

    per_image: tuple[PerImage, ...]
    by_kind: tuple[KindCost, ...]
    client_memory: int
    server_memory: int
    begun: str
    wall_seconds: float
    sessions: int


class Analysis(msgspec.Struct, frozen=True, kw_only=True):
    """The whole. Tuples are in the order of `labels`; of each, all images first, then the sites in
    alphabetical order. `patients`: None unless every image names one. `resampled`: what the
    bootstrap draws. `probabilities`: how scores become probabilities: "sigmoid" (they are logits),
    "identity", or None where calibration makes no sense. `methods`: by topic, a sentence with its
    source, in the order of a report. `notes`: what a reader must know of this cohort. `doubts`: why
    cleartext scores may not be what secure ones are to be compared with.
    """

    format: str = FORMAT
    version: int = VERSION
    policy: Reveal
    labels: tuple[str, ...]
    images: int
    patients: int | None
    sites: dict[str, int]
    excluded: dict[str, int]
    margin: float
    bootstrap: int
    seed: int
    resampled: Unit
    probabilities: Literal["sigmoid", "identity"] | None
    methods: dict[str, str]
    notes: tuple[str, ...]
    doubts: tuple[str, ...] = ()
    discrimination: tuple[Discrimination, ...] = ()
    agreement: tuple[Agreement, ...] = ()
    curves: tuple[Curve, ...] = ()
    histograms: tuple[Histogram, ...] = ()
    differences: tuple[Differences, ...] = ()
    calibration: tuple[Calibration, ...] = ()
    decisions: tuple[Decision, ...] = ()
    top_one: TopOne | None = None
    resources: ResourceUse
