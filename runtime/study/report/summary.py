"""What stands at the top: what was asked and what was found, in sentences."""

from __future__ import annotations

from moiety.runtime.program.policy import Reveal
from moiety.runtime.study.report.page import Verdict
from moiety.runtime.study.report.sections.discrimination import overall
from moiety.runtime.study.report.words import counted, fixed, listed, signed
from moiety.runtime.study.statistics.analysis import Analysis, Area, Counts, Discrimination

REVEALED: dict[Reveal, str] = {
    "scores": "Of each image the scores were revealed to the hospital.",
    "probabilities": "Of each image probabilities were revealed to the hospital, not the scores.",
    "top-1": "Of each image the label with the largest score was revealed to the hospital, and "
    "nothing else.",
    "decision": "Of each image one bit for each label was revealed to the hospital: whether the "
    "score is above the vendor's threshold, which stays secret.",
    "aggregate": "Of single images nothing was revealed: of each label the AUROC and its standard "
    "error alone, computed on scores that stayed shared.",
}
COUNTED = (
    "Of single images nothing was revealed: of each label the counts of right and wrong decisions "
    "alone, at a threshold of the vendor's that stays secret, computed on decisions that stayed "
    "shared."
)
_area = fixed(4)
_change = signed(5)


def findings(analysis: Analysis) -> list[str]:
    """Paragraphs: a function of the results alone."""
    found = [_question(analysis), *_equivalence(analysis), *_areas(analysis)]
    found += [*_decisions(analysis), *_agreement(analysis)]
    counted = analysis.policy == "aggregate" and analysis.decisions
    revealed = COUNTED if counted else REVEALED[analysis.policy]
    return [" ".join(found), *analysis.doubts, revealed]


def numbers(analysis: Analysis) -> list[tuple[str, str]]:
    """A few of the results, each with its words."""
    found = [(f"{analysis.images:,}", _counted_word(analysis.images, "image"))]
    if analysis.sites:
        found.append((str(len(analysis.sites)), _counted_word(len(analysis.sites), "site")))
    found.append((str(len(analysis.labels)), _counted_word(len(analysis.labels), "label")))
    largest = _largest(analysis)
    if largest is not None and largest.comparison is not None:
        found.append((_change(largest.comparison.difference), "largest change of an AUROC"))
    return found


def verdicts(analysis: Analysis) -> list[Verdict]:
    """Of each label, over all images."""
    found = []
    for each in overall(analysis):
        label = each.counts.label
        if each.comparison is not None:
            tost = each.comparison.equivalence
            found.append(Verdict(label, tost.equivalent, tost.statement))
        elif each.reason:
            what = "Not compared" if each.secure else "Not computed"
            found.append(Verdict(label, None, f"{what}: {each.reason}."))
    return found


def _question(analysis: Analysis) -> str:
    where = f" from {counted(len(analysis.sites), 'site')}" if len(analysis.sites) > 1 else ""
    cohort = f"{counted(analysis.images, 'image')}{where}"
    if any(each.comparison for each in overall(analysis)):
        return (
            f"Does secure two-party computation change what the network is worth? {cohort} went "
            "through it and, in clear, through the network itself."
        )
    if any(each.cleartext for each in analysis.decisions):
        return f"{cohort} were decided by secure two-party computation and in clear."
    return f"{cohort} went through secure two-party computation."


def _equivalence(analysis: Analysis) -> list[str]:
    compared = [each for each in overall(analysis) if each.comparison]
    largest = _largest(analysis)
    if largest is None or largest.comparison is None:
        return []
    shown = [
        each for each in compared if each.comparison and each.comparison.equivalence.equivalent
    ]
    without = [e.counts.label for e in compared if e not in shown]
    within = f"within ±{analysis.margin:g} is shown"
    text = (
        f"Equivalence of the AUROC {within} for {len(shown)} of {counted(len(compared), 'label')}"
    )
    if without:
        text += f", not for {listed(without)}, which alone is no evidence of a difference"
    c = largest.comparison
    return [
        f"{text}. The largest difference, secure minus cleartext, is {_change(c.difference)} "
        f"({largest.counts.label}; 95 % CI {_change(c.low)} to {_change(c.high)})."
    ]


def _largest(analysis: Analysis) -> Discrimination | None:
    compared = [each for each in overall(analysis) if each.comparison]
    return max(
        compared, key=lambda e: abs(e.comparison.difference) if e.comparison else 0.0, default=None
    )


def _areas(analysis: Analysis) -> list[str]:
    areas = [(e.counts, e.secure) for e in overall(analysis) if e.secure is not None]
    if not areas:
        return []
    areas.sort(key=lambda each: each[1].auroc)
    lowest, highest = _told(*areas[0]), _told(*areas[-1])
    none = len(analysis.labels) - len(areas)
    missing = f" Of {counted(none, 'label')} there is none: the tables say why." if none else ""
    if len(areas) == 1:
        return [f"The AUROC is {lowest}.{missing}"]
    return [f"AUROCs go from {lowest} to {highest}.{missing}"]


def _told(counts: Counts, area: Area) -> str:
    """An area, and how much it rests on."""
    interval = f"95 % CI {_area(area.low)} to {_area(area.high)}"
    return (
        f"{_area(area.auroc)} ({counts.label}, {counted(counts.positives, 'positive')}; {interval})"
    )


def _decisions(analysis: Analysis) -> list[str]:
    alike = [e.agreeing for e in analysis.decisions if e.counts.site is None and e.agreeing]
    found = []
    if alike:
        hits, total = sum(e.hits for e in alike), sum(e.total for e in alike)
        found.append(f"{hits:,} of {total:,} decisions are the same in clear.")
    if analysis.top_one is not None:
        right = analysis.top_one.accuracy
        found.append(f"The largest label was right for {right.hits:,} of {right.total:,} images.")
    return found


def _agreement(analysis: Analysis) -> list[str]:
    if not analysis.agreement:
        return []
    largest = max(each.largest for each in analysis.agreement)
    return [f"The largest difference of a score from its cleartext one is {largest:.2g}."]


def _counted_word(number: int, one: str) -> str:
    return one if number == 1 else f"{one}s"
