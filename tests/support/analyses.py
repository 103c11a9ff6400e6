"""Studies and what statistics would say of them, made up: any labels, sites and policy, at no cost.
The numbers are plausible and mean nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

from moiety.runtime.party.metering import StepCost
from moiety.runtime.program.policy import Figures, Policy, Reveal
from moiety.runtime.study.statistics.analysis import (
    Agreement,
    Analysis,
    Area,
    Calibration,
    CalibrationBin,
    Comparison,
    Counts,
    Curve,
    Decided,
    Decision,
    Differences,
    Discrimination,
    Equivalence,
    Histogram,
    Interval,
    KindCost,
    Limits,
    PerImage,
    Proportion,
    ResourceUse,
    Spread,
    TopOne,
)
from moiety.runtime.study.table import Resources, Study

ONE_CLASS = "one class only: no image has the label"
_GRID = tuple(float(x) for x in np.linspace(0, 1, 101))


@dataclass(frozen=True)
class Made:
    """What to make up. `single`: so many of the labels are of one class everywhere."""

    labels: Sequence[str] = ("Oedema", "Effusion")
    sites: Sequence[str] = ("north", "south")
    reveal: Reveal = "scores"
    figures: Figures = "auroc"
    reference: bool = True
    single: int = 0
    seconds: float = 2.6
    name: str = "Two sites"

    def study(self) -> Study:
        nothing = np.zeros(0)
        resources = Resources(
            *(nothing,) * 6, np.zeros(0, np.str_), {"gate": StepCost()}, 1, 1, "", 1.0, 1
        )
        facts = {"Model": "densenet 1.0", "Program": "ab" * 32, "Date": "2026-11-26"}
        policy = Policy(reveal=self.reveal, figures=self.figures)
        return Study(self.name, policy, facts, resources)

    def analysis(self) -> Analysis:
        labels = tuple(self.labels)
        scores = self.reveal in ("scores", "probabilities")
        decided = self.reveal in ("decision", "top-1") or self.figures == "counts"
        known = [label for label in labels if not self._reason(label)]
        paired = known if scores and self.reference else []
        places = [(label, site) for label in labels for site in self._places()]
        return Analysis(
            policy=self.reveal,
            labels=labels,
            images=800,
            patients=600,
            sites={site: 800 // len(self.sites) for site in self.sites},
            excluded={"no label is known": 3},
            margin=0.01,
            bootstrap=2000,
            seed=7,
            resampled="patient",
            probabilities="sigmoid" if scores else None,
            methods={"auroc": "DeLong's method by midranks.", "ks": "Two samples."},
            notes=("Sites differ in how many images have a label.",),
            discrimination=() if decided else tuple(self._discrimination(*at) for at in places),
            agreement=tuple(_agreement(label) for label in paired),
            curves=tuple(self._curve(label) for label in labels) if scores else (),
            histograms=tuple(self._histogram(label) for label in labels) if scores else (),
            differences=tuple(_differences(label) for label in paired),
            calibration=tuple(self._calibration(label) for label in labels) if scores else (),
            decisions=tuple(self._decision(*at) for at in places) if decided else (),
            top_one=self._top_one() if self.reveal == "top-1" else None,
            resources=self._resources(),
        )

    def _places(self) -> list[str | None]:
        by_site = self.sites if self.reveal != "aggregate" else ()
        return [None, *by_site]

    def _reason(self, label: str) -> str | None:
        return ONE_CLASS if label in list(self.labels)[: self.single] else None

    def _counts(self, label: str, site: str | None) -> Counts:
        positives = 0 if self._reason(label) else 200
        return Counts(
            label=label,
            site=site,
            images=800,
            positives=positives,
            negatives=590,
            unknown=10,
            outside_negatives=site == self.sites[-1] if site else False,
        )

    def _discrimination(self, label: str, site: str | None) -> Discrimination:
        counts, reason = self._counts(label, site), self._reason(label)
        if reason:
            return Discrimination(counts=counts, reason=reason)
        rng = np.random.default_rng(len(label) + len(site or ""))
        value = float(rng.uniform(0.65, 0.97))
        clear = value + float(rng.normal(0, 3e-4))
        compared = self.reference and self.reveal != "aggregate"
        return Discrimination(
            counts=counts,
            secure=_area(value),
            cleartext=_area(clear) if compared else None,
            comparison=_comparison(value - clear, site) if compared else None,
        )

    def _curve(self, label: str) -> Curve:
        if reason := self._reason(label):
            return Curve(label=label, reason=reason)
        secure = tuple(x**0.3 for x in _GRID)
        clear = tuple(x**0.301 for x in _GRID)
        return Curve(
            label=label,
            false_positive_rate=_GRID,
            secure=secure,
            cleartext=clear if self.reference else None,
        )

    def _histogram(self, label: str) -> Histogram:
        counts = tuple(int(60 * np.exp(-(((k - 12) / 6) ** 2))) for k in range(30))
        return Histogram(
            label=label,
            edges=tuple(float(x) for x in np.linspace(-5, 5, 31)),
            secure_positives=tuple(c // 3 for c in counts),
            secure_negatives=counts,
            secure_unknown=tuple(c // 9 for c in counts),
            cleartext=tuple(c + c // 3 + c // 9 for c in counts) if self.reference else None,
        )

    def _calibration(self, label: str) -> Calibration:
        if reason := self._reason(label):
            return Calibration(label=label, images=0, reason=reason)
        bins = tuple(
            CalibrationBin(
                low=k / 10,
                high=(k + 1) / 10,
                predicted=k / 10 + 0.05,
                observed=_proportion(6 * k + 2, 70),
            )
            for k in range(10)
        )
        around = Interval(low=0.11, high=0.13)
        clear = (0.1201, around) if self.reference else (None, None)
        return Calibration(
            label=label,
            images=790,
            brier=0.12,
            brier_interval=around,
            cleartext_brier=clear[0],
            cleartext_brier_interval=clear[1],
            bins=bins,
        )

    def _decision(self, label: str, site: str | None) -> Decision:
        positives = 0 if self._reason(label) else 200
        compared = self.reference and self.reveal != "aggregate"
        decided = Decided(
            sensitivity=_proportion(positives * 9 // 10, positives),
            specificity=_proportion(500, 590),
            positive_predictive_value=_proportion(positives * 9 // 10, 300),
            negative_predictive_value=_proportion(480, 500),
        )
        return Decision(
            counts=self._counts(label, site),
            secure=None if self.figures == "counts" and not positives else decided,
            cleartext=decided if compared else None,
            agreeing=_proportion(799, 800) if compared else None,
            reason=self._reason(label),
        )

    def _top_one(self) -> TopOne:
        size = len(self.labels)
        return TopOne(
            images=500,
            unsuitable=300,
            accuracy=_proportion(400, 500),
            recall={label: _proportion(80, 100) for label in self.labels},
            confusion=tuple(tuple(80 if i == j else 5 for j in range(size)) for i in range(size)),
            cleartext_accuracy=_proportion(401, 500) if self.reference else None,
            agreeing=_proportion(499, 500) if self.reference else None,
        )

    def _resources(self) -> ResourceUse:
        spread = Spread(
            median=self.seconds,
            lower_quartile=self.seconds * 0.98,
            upper_quartile=self.seconds * 1.03,
            total=800 * self.seconds,
        )
        sent = msgspec.structs.replace(
            spread, median=2.4e8, lower_quartile=2.4e8, upper_quartile=2.4e8, total=2e11
        )
        per_image = tuple(
            PerImage(
                site=site,
                images=800,
                seconds=spread,
                client_cpu=spread,
                server_cpu=spread,
                sent=sent,
                received=sent,
                flights=spread,
            )
            for site in (None, *self.sites)
        )
        by_kind = tuple(
            KindCost(
                kind=kind,
                seconds=s,
                share=s / 2.6,
                cpu_seconds=s,
                sent=1e8,
                received=1e8,
                flights=60,
            )
            for kind, s in (("gate", 1.5), ("linear", 0.9), ("keys", 0.2))
        )
        return ResourceUse(
            per_image=per_image,
            by_kind=by_kind,
            client_memory=900_000_000,
            server_memory=1_400_000_000,
            begun="2026-11-25T12:00:00.000Z",
            wall_seconds=800 * self.seconds,
            sessions=1,
        )


def _area(value: float) -> Area:
    return Area(
        auroc=value,
        standard_error=0.012,
        low=value - 0.024,
        high=value + 0.021,
        interval="logit",
        resampled=Interval(low=value - 0.025, high=value + 0.022),
    )


def _comparison(difference: float, site: str | None) -> Comparison:
    error = 4e-4
    low, high = difference - 1.645 * error, difference + 1.645 * error
    tost = Equivalence(
        margin=0.01,
        low_90=low,
        high_90=high,
        p_lower=1e-9,
        p_upper=1e-9,
        p=1e-9,
        equivalent=True,
        statement="Equivalent within ±0.01.",
    )
    return Comparison(
        difference=difference,
        standard_error=error,
        low=difference - 1.96 * error,
        high=difference + 1.96 * error,
        z=difference / error,
        p=0.4,
        p_holm=None if site else 1.0,
        resampled=Interval(low=low, high=high),
        equivalence=tost,
    )


def _proportion(hits: int, total: int) -> Proportion:
    if not total:
        return Proportion(hits=0, total=0, value=None, low=None, high=None)
    share = hits / total
    return Proportion(
        hits=hits, total=total, value=share, low=max(0.0, share - 0.05), high=min(1.0, share + 0.05)
    )


def _agreement(label: str) -> Agreement:
    limits = Limits(
        bias=1e-4,
        bias_interval=Interval(low=-6e-4, high=8e-4),
        standard_deviation=0.01,
        lower=-0.0195,
        lower_interval=Interval(low=-0.0207, high=-0.0183),
        upper=0.0197,
        upper_interval=Interval(low=0.0185, high=0.0209),
    )
    return Agreement(
        label=label,
        images=800,
        largest=0.034,
        rms=0.01,
        quantiles={"0.5": 0.0067, "0.95": 0.0196, "0.99": 0.0258},
        correlation=0.99998,
        ks=0.004,
        ks_p=1.0,
        limits=limits,
    )


def _differences(label: str) -> Differences:
    edges = np.linspace(-0.035, 0.035, 29)
    counts = 90 * np.exp(-((edges[:-1] / 0.012) ** 2))
    means = np.linspace(-3, 3, 20)
    return Differences(
        label=label,
        edges=tuple(map(float, edges)),
        counts=tuple(int(c) for c in counts),
        means=tuple(map(float, means)),
        low=tuple(float(-0.019 + 0.001 * np.sin(x)) for x in means),
        median=tuple(float(0.001 * np.cos(2 * x)) for x in means),
        high=tuple(float(0.019 + 0.001 * np.sin(x)) for x in means),
    )
