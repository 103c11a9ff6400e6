"""What a label is judged on, and where: all images, then each site."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from moiety.protocols.arrays import BOOL, F64
from moiety.protocols.errors import BadInput
from moiety.runtime.study.statistics.analysis import Counts, Unit
from moiety.runtime.study.table import TOO_LARGE, Names, StudyTable


@dataclass(frozen=True, eq=False)
class Column:
    """One label of images with a score: truth, score and cleartext score, `(n,)`; `sites`, and
    `units`, what the bootstrap draws.
    """

    label: str
    truth: F64
    secure: F64
    cleartext: F64 | None
    sites: Names
    units: Names

    @property
    def known(self) -> BOOL:
        return np.isfinite(self.truth)

    @property
    def positive(self) -> BOOL:
        return self.truth == 1

    @property
    def negative(self) -> BOOL:
        return self.truth == 0

    def scores(self) -> F64:
        """`(1, n)` or `(2, n)`: secure, then cleartext where there is one."""
        return np.stack([self.secure] if self.cleartext is None else [self.secure, self.cleartext])

    def at(self, chosen: BOOL) -> Column:
        """Of some of the images."""
        return Column(
            self.label,
            self.truth[chosen],
            self.secure[chosen],
            None if self.cleartext is None else self.cleartext[chosen],
            self.sites[chosen],
            self.units[chosen],
        )

    def places(self, lend: bool = False) -> Iterator[tuple[Counts, Column]]:
        """All images, then each site where there are several: what is there, and the images of
        known truth that are judged. With `lend`, a site without negatives of its own is judged
        against those of all other sites: it could not be judged otherwise, and `outside_negatives`
        says so.
        """
        yield self._counts(None, self.negative), self.at(self.known)
        names = site_names(self.sites)
        for site in names if len(names) > 1 else ():
            here = self.sites == site
            negative = self.negative & here
            if lend and not negative.any() and (self.positive & here).any():
                negative = self.negative
            yield self._counts(site, negative), self.at((self.positive & here) | negative)

    def _counts(self, site: str | None, negative: BOOL) -> Counts:
        here = np.ones(self.truth.shape, bool) if site is None else self.sites == site
        return Counts(
            label=self.label,
            site=site,
            images=int(here.sum()),
            positives=int((self.positive & here).sum()),
            negatives=int(negative.sum()),
            unknown=int((~self.known & here).sum()),
            outside_negatives=bool((negative & ~here).any()),
        )


def site_names(sites: Names) -> tuple[str, ...]:
    """In alphabetical order, without the empty one."""
    return tuple(str(site) for site in np.unique(sites) if site)


def one_class(counts: Counts) -> str | None:
    """Why a label cannot be judged there; None if it can."""
    if counts.positives and counts.negatives:
        return None
    if not counts.positives and not counts.negatives:
        return "the label is unknown for every image"
    return f"one class only: no image {'without' if counts.positives else 'with'} the label"


def with_results(table: StudyTable) -> StudyTable:
    """Without the images that have no score."""
    there = ~np.isnan(table.scores).all(axis=1)
    return replace(
        table,
        truth=table.truth[there],
        scores=table.scores[there],
        reference=None if table.reference is None else table.reference[there],
        sites=table.sites[there],
        patients=table.patients[there],
    )


def unit_of(table: StudyTable) -> Unit:
    """Patients, if every image has one."""
    return "patient" if table.images and bool((table.patients != "").all()) else "image"


def columns(table: StudyTable) -> tuple[Column, ...]:
    """A Column for each label."""
    images = np.arange(table.images).astype(np.str_)
    units = table.patients if unit_of(table) == "patient" else images
    return tuple(
        Column(
            label,
            table.truth[:, number],
            table.scores[:, number],
            None if table.reference is None else table.reference[:, number],
            table.sites,
            units,
        )
        for number, label in enumerate(table.labels)
    )


def check(table: StudyTable) -> None:
    """BadInput, naming the label, for what no statistic can be made of: truths that are not 0, 1
    or unknown; scores, secure or cleartext, that are infinite or missing where the image has
    others; decisions that are not 0 or 1.
    """
    shape = (len(table.sites), len(table.labels))
    given = {"truth": table.truth, "secure scores": table.scores}
    if table.reference is not None:
        given["reference scores"] = table.reference
    for what, values in given.items():
        if values.shape != shape:
            raise BadInput(f"the {what} have shape {values.shape}, the cohort has {shape}")
    _refuse(table.labels, ~np.isin(table.truth, (0, 1)) & ~np.isnan(table.truth), "truth", "0 or 1")
    there = ~np.isnan(table.scores).all(axis=1)
    for what, values in list(given.items())[1:]:
        unusable = ~(np.abs(values[there]) < TOO_LARGE)
        _refuse(table.labels, unusable, what, f"a finite number below {TOO_LARGE:g}")
    bits = {"decisions": ["secure scores", "reference scores"], "choices": ["secure scores"]}
    for what in bits.get(table.kind, []):
        if what in given:
            _refuse(table.labels, ~np.isin(given[what][there], (0, 1)), what, "0 or 1")


def _refuse(labels: tuple[str, ...], wrong: BOOL, what: str, wanted: str) -> None:
    for label, count in zip(labels, wrong.sum(axis=0), strict=True):
        if count:
            raise BadInput(
                f"the {what} of {label!r} of {count} of {wrong.shape[0]} images is not {wanted}"
            )
