"""Names that belong together because something ties them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from moiety.compiler.ir.scale_fields import Classes


def tied_together(names: Sequence[str], ties: Iterable[Iterable[str]]) -> list[tuple[str, ...]]:
    """The finest partition of `names` in which the names of every tie are in one group. Groups come
    in the order of their first names, and names in the order given.
    """
    classes = Classes()
    ids = dict(zip(names, classes.fresh(len(names)).tolist(), strict=True))
    for tie in ties:
        classes.tie(ids[name] for name in tie)
    groups: dict[int, list[str]] = {}
    for name in names:
        groups.setdefault(classes.root(ids[name]), []).append(name)
    return [tuple(group) for group in groups.values()]
