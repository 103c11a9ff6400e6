"""The two parts of a cost, where a run's transfers are prepared (protocols/preparation): what is
sent beforehand, and what is left for the run.

Drawing is all that moves. Correlations are drawn in long runs of one width, so that a preparation
has few flights whatever the protocols' own order is; the sizes of the runs follow from how many
correlations of each width there are, and so do the bytes. Flights are declared for SoftSpoken: of
silent correlations, a party also waits where nothing but the answer to a refill is sent.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import zip_longest

from moiety.protocols.cost import Cost, Draw, Party, Settle

RUN = 1 << 19
"""Correlations of one width that are drawn at once, 8 MiB of blocks at most: public, the same at
both parties.
"""


@dataclass
class Runs:
    """When correlations are drawn, of which so many of each width are wanted in all (`left`): a run
    where there are too few.
    """

    left: Counter[int]
    _held: Counter[int] = field(default_factory=Counter)

    def before(self, n: int, k: int) -> Iterator[int]:
        """The sizes of the runs that are drawn before n correlations of width k can be taken, which
        they then are.
        """
        while self._held[k] < n:
            size = min(RUN, self.left[k])
            self.left[k] -= size
            self._held[k] += size
            yield size
        self._held[k] -= n


def runs_of(receiver: Party, taken: Iterable[tuple[int, int]]) -> list[Draw]:
    """What is drawn where (n, k) correlations are taken one after the other."""
    taken = list(taken)
    total: Counter[int] = Counter()
    for n, k in taken:
        total[k] += n
    runs = Runs(total)
    return [Draw(receiver, size, k) for n, k in taken for size in runs.before(n, k)]


def in_turns(client: Iterable[Draw], server: Iterable[Draw]) -> Cost:
    """The draws of a preparation: the client's runs and the server's in turns, as long as both have
    any, then the check of all.
    """
    turns = zip_longest(client, server)
    return Cost((*(draw for turn in turns for draw in turn if draw), Settle()))


def online(cost: Cost) -> Cost:
    """What a run sends whose transfers are prepared: all but what drawing correlations takes."""
    return Cost(tuple(each for each in cost.events if not isinstance(each, Draw | Settle)))


def offline(cost: Cost) -> Cost:
    """What preparing its transfers sends. Sizes are integers."""
    draws = [each for each in cost.events if isinstance(each, Draw)]
    client, server = (
        runs_of(party, ((draw.n, draw.k) for draw in draws if draw.receiver == party))
        for party in ("C", "S")
    )
    return in_turns(client, server)
