"""Each party's view of every protocol under two inputs of the other party:

    python -m tests.views --runs 24

A view is all messages that arrive and what the protocol gives to the party. Between two inputs of
the other one, lengths and order must be equal, and no test of any field may tell them apart:
histograms, the mean of every bit at every place, correlations of neighbours in a message and from
run to run. All tests together reject sound code with probability 1e-6 (Holm). To show that they
can fail, the same tests are first run on views into which a single bit of the other's input was
put; and of the one protocol that opens something, the client's views must differ. The last line is
the summary; exit code 1 for a difference.

A test of distributions sees what is gross: a mask that is missing, constant, or reused. It cannot
see a weak generator.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from moiety.protocols.arrays import U8
from moiety.protocols.compare.reveal import reveal_to_client
from tests.protocols.cases import CASES
from tests.protocols.conformance import Case, Pair
from tests.views.collect import View, views
from tests.views.statistics import Judged, compared, rejected

SIGNIFICANCE = 1e-6
PARTIES = ("server", "client")
SEEDS = (1, 2)


def judged(name: str, case: Case, runs: int) -> Iterator[Judged]:
    """All tests of one protocol. Raises AssertionError for unequal lengths or order."""
    first, second = (case.inputs(np.random.default_rng(seed)) for seed in SEEDS)
    own = views(case, first, runs)
    changed: dict[int, Pair] = {0: (first[0], second[1]), 1: (second[0], first[1])}
    for party, inputs in changed.items():
        before, after = own[party], views(case, inputs, runs)[party]
        what = f"{name}, {PARTIES[party]}'s view"
        assert before.shape == after.shape, f"{what}: lengths or order depend on the other's input"
        yield from compared(what, before, after)


def with_leak(view: View, bit: int) -> View:
    """The same with one bit of one byte set in every run, as a value in clear would be."""
    largest = max(range(len(view.messages)), key=lambda m: view.messages[m].size)
    messages = list(view.messages)
    leaking: U8 = messages[largest].copy()
    leaking[:, 0] = leaking[:, 0] & 0xFE | bit
    messages[largest] = leaking
    return replace(view, messages=messages)


def sees_a_leak(runs: int) -> bool:
    """Whether one bit in one byte of one message is told from its opposite."""
    case = CASES[LEAKING]
    view = views(case, case.inputs(np.random.default_rng(1)), runs)[1]
    tests = list(compared("leak", with_leak(view, 0), with_leak(view, 1)))
    return bool(rejected(tests, SIGNIFICANCE / 100))


LEAKING = next(iter(CASES))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.views",
        description=str(__doc__),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--runs", type=int, default=32, help="of each input (default 32)")
    parser.add_argument("--only", help="protocols whose name contains this")
    options = parser.parse_args(arguments)
    names = [name for name in CASES if not options.only or options.only in name]
    if not names:
        parser.error(f"no protocol has {options.only!r} in its name; there are {', '.join(CASES)}")
    if options.runs < 1:
        parser.error("--runs: at least one")
    if not sees_a_leak(options.runs):
        print("a bit in clear is not seen with so few runs")
        return 1
    tests: list[Judged] = []
    opened: list[Judged] = []
    wrong: list[str] = []
    for name in names:
        try:
            opens = reveal_to_client in CASES[name].protocols
            for each in judged(name, CASES[name], options.runs):
                (opened if opens and "client's view" in each.what else tests).append(each)
        except AssertionError as error:
            wrong.append(f"{name}: {error}")
    wrong += [f"{each.what}: p = {each.p:.1e}" for each in rejected(tests, SIGNIFICANCE)]
    if opened and not rejected(opened, SIGNIFICANCE):
        wrong.append("what is opened to the client is not seen")
    for line in wrong:
        print(line)
    least = min((each.p for each in tests), default=1.0)
    print(
        f"{len(names)} protocols, {len(tests)} tests of views, least p {least:.1e}, "
        f"{len(wrong)} differences"
    )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
