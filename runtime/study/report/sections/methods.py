"""How the numbers were made, what they do not say, and what it takes to make them again."""

from __future__ import annotations

from moiety.runtime.study.report.page import Block, Facts, Heading, Points, Prose, Section
from moiety.runtime.study.report.words import counted
from moiety.runtime.study.statistics.analysis import Analysis
from moiety.runtime.study.table import Study

_CONFOUNDED = (
    "Sites differ in more than their patients' diagnoses. Where a site's positives are compared "
    "with other sites' negatives, and over all images where sites have different shares of "
    "positives, a network that tells sites apart looks as if it told diagnoses apart. The "
    "difference between secure and cleartext is not touched by that; the AUROC itself is."
)
_MANY = (
    "Every label and site is a test. P values of differences over all images are given also "
    "adjusted for the number of labels (Holm); those of single sites, and intervals, are not."
)
_EQUIVALENT = (
    "Equivalence is said against the margin, whose choice the section on reproduction tells, and "
    "of this cohort's patients and prevalence. Where it is not shown, that is no proof of a "
    "difference."
)
_INTENDED = (
    "The report compares two ways of computing one network. It is no evidence that the network is "
    "fit for a clinical use."
)


def section(study: Study, analysis: Analysis) -> Section:
    topics = [(_topic(name), text) for name, text in analysis.methods.items()]
    limits = []
    if "auroc" in analysis.methods and len(analysis.sites) > 1:
        limits.append(("Sites", _CONFOUNDED))
    if "equivalence" in analysis.methods:
        limits += [("Many tests", _MANY), ("Equivalence", _EQUIVALENT)]
    blocks: list[Block] = [
        Points(topics),
        Heading("What the report does not say"),
        Points([*limits, ("Use", _INTENDED)]),
    ]
    return Section("methods", "Methods and limits", blocks)


def _topic(name: str) -> str:
    return {"auroc": "AUROC", "ks": "Kolmogorov and Smirnov"}.get(name, name.capitalize())


def reproduction(study: Study, analysis: Analysis) -> Section:
    """What was run, to the digit, and where the seed went in."""
    again = (
        "From the same results, everything but the section on resources is the same again, to the "
        "byte."
    )
    if "bootstrap" in analysis.methods and analysis.bootstrap:
        samples = counted(analysis.bootstrap, "bootstrap sample")
        again = f"{samples}, drawn by {analysis.resampled} from seed {analysis.seed}. {again}"
    blocks: list[Block] = [
        Facts([(name, text) for name, text in study.facts.items()]),
        Prose(again),
        Prose("The numbers stand in full in report.json, the tables in tables/, as CSV."),
    ]
    return Section("reproduction", "Reproduction", blocks)
