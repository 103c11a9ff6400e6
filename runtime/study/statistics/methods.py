"""What the report says of its own methods: a sentence for each, with the source; and what a reader
must know of this cohort.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from moiety.runtime.study.statistics.analysis import Counts, Unit
from moiety.runtime.study.statistics.disclosure import FEWEST, GROUP
from moiety.runtime.study.statistics.places import unit_of
from moiety.runtime.study.statistics.resampling import LEAST_UNITS, LEAST_USABLE
from moiety.runtime.study.table import Study, StudyTable

FAR = 0.5
"""Of the standard deviation of scores."""
DISCRIMINATION = {
    "auroc": "AUROC is the share of pairs of a positive and a negative image in which the positive "
    "has the larger score; ties count half. Its standard error is DeLong's (DeLong, DeLong, "
    "Clarke-Pearson, Biometrics 1988), by midranks (Sun, Xu, IEEE Signal Processing Letters "
    "2014).",
    "interval": "95 % intervals of AUROC are DeLong's on the logit scale (Pepe, The Statistical "
    "Evaluation of Medical Tests 2003), so that they stay between 0 and 1. Where DeLong's "
    "error is 0, as at an AUROC of exactly 0 or 1, or a class has one image, they are Newcombe's "
    "(method 5; Statistics in Medicine 2006). DeLong's are for large samples: with about ten "
    "images of a class or fewer they are too narrow.",
    "sites": "A site is judged on its own images. One without negatives of its own is judged "
    "against the negatives of all other sites, and marked: the model may then have told sites "
    "apart, not the label.",
}
COMPARISON = {
    "difference": "Secure and cleartext AUROC of the same images are compared by DeLong's paired "
    "test, with a 95 % interval of the difference. Where no positive and negative image changed "
    "places, Z = 0, p = 1, and the intervals are those of a single pair that did, since DeLong's "
    "error would be 0 however few the images. p over all images is adjusted for the number of "
    "labels (Holm, Scandinavian Journal of Statistics 1979).",
    "equivalence": "Equivalence is judged by two one-sided tests at 5 % against a margin "
    "(Schuirmann, Journal of Pharmacokinetics and Biopharmaceutics 1987), which must be set before "
    "the study: it is shown where the 90 % interval of the difference lies inside the margin. No "
    "adjustment is due where every label must be equivalent; of labels taken singly each has its "
    "own 5 %.",
}
AGREEMENT = {
    "limits": "Bias and limits of agreement of secure minus cleartext scores are Bland and "
    "Altman's, with 95 % intervals (Statistical Methods in Medical Research 1999). They take "
    "images for independent; in those of all labels together an image counts once.",
    "ks": "The Kolmogorov-Smirnov statistic is the largest distance between the two distributions "
    "of scores. Its p, of large samples, assumes independent samples, which two scores of the same "
    "images are not: it says nothing about whether images changed places.",
}
CURVES = {
    "curves": "ROC curves are drawn on a grid of 101 false positive rates, and not at all with "
    f"fewer than {FEWEST} images of a class, since each step would be one image. AUROC is computed "
    "from all scores, not from the grid. Histograms have round edges and open ends, "
    f"and do not tell classes apart one of which has fewer than {FEWEST} images; the plot of "
    f"differences shows groups of at least {GROUP} images, with 5 %, median and 95 %.",
}
PROPORTIONS = {
    "proportions": "Intervals of proportions are Wilson's (Journal of the American Statistical "
    "Association 1927). They take images for independent.",
}
AGGREGATE = {
    "policy": "Scores stayed shared between the parties. Only each label's AUROC and standard "
    "error were revealed, so nothing here depends on single scores: no bootstrap, no curve, no "
    "site. Images are taken for independent.",
}
COUNTED = {
    "policy": "Decisions stayed shared between the parties. Only each label's counts of true and "
    "false positives were revealed, at a threshold of the vendor's that stays secret; with the "
    "labels, true and false negatives follow. Nothing here depends on single decisions: no site.",
}
DECISIONS = {
    "decisions": "Decisions are known, and no scores, so sensitivity, specificity and predictive "
    "values stand for AUROC. Predictive values depend on how common the label is in this cohort.",
}


def methods(study: Study) -> dict[str, str]:
    """Those that were used, in the order of the report."""
    if study.policy.counts:
        return COUNTED | DECISIONS | PROPORTIONS
    if study.table is None:
        return {
            **AGGREGATE,
            "auroc": DISCRIMINATION["auroc"],
            "interval": DISCRIMINATION["interval"],
        }
    if study.table.kind in ("decisions", "choices"):
        return DECISIONS | PROPORTIONS
    used = {**DISCRIMINATION, "bootstrap": _bootstrap(study, unit_of(study.table))}
    if study.table.reference is not None:
        used |= COMPARISON | AGREEMENT
    return used | {"calibration": _calibration(study.table)} | CURVES | PROPORTIONS


def _bootstrap(study: Study, unit: Unit) -> str:
    if not study.bootstrap:
        return "No bootstrap was asked for."
    of = f"{unit}s"
    drawn = f"{of}, each with all their images" if unit == "patient" else of
    return (
        f"Bootstrap intervals are percentiles of {study.bootstrap} resamples of {drawn}, from seed "
        f"{study.seed}; none is given of fewer than {LEAST_UNITS} {of}, or where fewer than "
        f"{LEAST_USABLE:.0%} of the resamples have both classes. At an AUROC of exactly 0 or 1, "
        "and where nothing changed places, all resamples are alike: that interval is a point, and "
        "says nothing."
    )


def _calibration(table: StudyTable) -> str:
    if table.kind == "scores":
        return (
            "None: the model's results are neither logits nor probabilities, so what probability "
            "a score stands for is not known."
        )
    scores = (
        "Scores are probabilities already"
        if table.kind == "probabilities"
        else "Scores are taken for logits, and probabilities are their sigmoid"
    )
    return (
        f"{scores}. The calibration curve has ten equally wide bins, and no point for one of fewer "
        f"than {FEWEST} images; the Brier score is the mean "
        "squared difference of probability and truth (Brier, Monthly Weather Review 1950), with a "
        "bootstrap interval."
    )


def notes(table: StudyTable, missing: int, counts: Iterable[Counts]) -> tuple[str, ...]:
    """Of images without a result, `missing` of them; without a site; of patients; of labels whose
    negatives come from other sites.
    """
    found = []
    if missing:
        found.append(f"{missing} images have no result and are left out.")
    nameless = int((table.sites == "").sum())
    if nameless and nameless < table.images:
        found.append(f"{nameless} images have no site: they count over all images alone.")
    found.append(_patients(table))
    outside = [f"{each.label} at {each.site}" for each in counts if each.outside_negatives]
    if outside:
        found.append(
            "No negatives of their own, so that the AUROC is confounded by site: "
            f"{', '.join(outside)}."
        )
    return tuple(found)


def doubts(table: StudyTable) -> tuple[str, ...]:
    """Rounding moves a score by far less than scores differ from image to image: where cleartext
    scores are further away, they are of something else.
    """
    if table.reference is None or table.images < FEWEST:
        return ()
    distance = np.sqrt(np.mean((table.scores - table.reference) ** 2, axis=0))
    spread = table.scores.std(axis=0)
    far = (distance > FAR * spread) & (spread > 0)
    labels = [label for label, is_far in zip(table.labels, far, strict=True) if is_far]
    if not labels:
        return ()
    *most, last = labels
    named = f"{', '.join(most)} and {last}" if most else last
    return (
        f"The cleartext scores of {named} are far from the secure ones: their distance (root mean "
        "square) is more than half of the standard deviation over images. They may be of another "
        "scale (probabilities in place of logits), model or image; then differences of scores "
        "mean nothing, and those of AUROC are not what secure computation changes.",
    )


def _patients(table: StudyTable) -> str:
    if unit_of(table) == "image":
        nameless = int((table.patients == "").sum())
        if nameless == table.images:
            return "Patients are not named: images are taken for independent everywhere."
        names = "names" if nameless == 1 else "name"
        return (
            f"{nameless} of {table.images} images {names} no patient: all images are taken for "
            "independent everywhere, those of one patient, too."
        )
    patients = len(set(table.patients))
    if patients == table.images:
        return "Each image is of another patient."
    several = f"{table.images} images of {patients} patient{'s' * (patients > 1)}"
    if table.kind in ("decisions", "choices"):
        return f"{several}: Wilson's intervals take images for independent."
    return (
        f"{several}: DeLong's intervals and tests, limits of agreement and Wilson's intervals take "
        "images for independent, the bootstrap does not."
    )
