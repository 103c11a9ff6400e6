"""What the images of a study took."""

from __future__ import annotations

import numpy as np

from moiety.protocols.arrays import BOOL, F64
from moiety.runtime.study.statistics.analysis import KindCost, PerImage, ResourceUse, Spread
from moiety.runtime.study.statistics.places import site_names
from moiety.runtime.study.table import Resources


def resource_use(spent: Resources) -> ResourceUse:
    """Per image over all images and by site, and by kind of step."""
    images = spent.seconds.size
    everywhere = np.ones(images, bool)
    names = site_names(spent.sites)
    places: list[tuple[str | None, BOOL]] = [(None, everywhere)] if images else []
    places += [(name, spent.sites == name) for name in names if len(names) > 1]
    return ResourceUse(
        per_image=tuple(_per_image(spent, site, here) for site, here in places),
        by_kind=_by_kind(spent, images) if images else (),
        client_memory=spent.client_memory,
        server_memory=spent.server_memory,
        begun=spent.begun,
        wall_seconds=spent.wall_seconds,
        sessions=spent.sessions,
    )


def _per_image(spent: Resources, site: str | None, here: BOOL) -> PerImage:
    return PerImage(
        site=site,
        images=int(here.sum()),
        seconds=_spread(spent.seconds[here]),
        client_cpu=_spread(spent.client_cpu[here]),
        server_cpu=_spread(spent.server_cpu[here]),
        sent=_spread(spent.sent[here]),
        received=_spread(spent.received[here]),
        flights=_spread(spent.flights[here]),
    )


def _spread(values: F64) -> Spread:
    lower, median, upper = (float(each) for each in np.quantile(values, [0.25, 0.5, 0.75]))
    return Spread(
        median=median, lower_quartile=lower, upper_quartile=upper, total=float(values.sum())
    )


def _by_kind(spent: Resources, images: int) -> tuple[KindCost, ...]:
    """The dearest first."""
    seconds = sum(cost.seconds for cost in spent.by_kind.values())
    return tuple(
        KindCost(
            kind=kind,
            seconds=cost.seconds / images,
            share=cost.seconds / seconds if seconds else 0.0,
            cpu_seconds=cost.cpu_seconds / images,
            sent=cost.sent / images,
            received=cost.received / images,
            flights=cost.flights / images,
        )
        for kind, cost in sorted(spent.by_kind.items(), key=lambda item: -item[1].seconds)
    )
