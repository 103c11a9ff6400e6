"""How much may be prepared for a peer, and how old it may get."""

from __future__ import annotations

from dataclasses import dataclass

from moiety.runtime.operation.access import Entry

DAY = 86400


@dataclass(frozen=True)
class Limits:
    """None: no limit. `items` that wait to be used; `nbytes`: of their files; `age_days`: after
    which an item is used no more.
    """

    items: int | None = None
    nbytes: int | None = None
    age_days: float | None = None

    @classmethod
    def of(cls, entry: Entry) -> Limits:
        """A client's, as the vendor's access file says."""
        return cls(entry.max_prepared, entry.max_store_bytes, entry.max_age_days)

    def within(self, usual: Limits) -> Limits:
        """With the usual limit where this has none of its own."""
        return Limits(
            usual.items if self.items is None else self.items,
            usual.nbytes if self.nbytes is None else self.nbytes,
            usual.age_days if self.age_days is None else self.age_days,
        )

    def expired(self, prepared: int, now: float) -> bool:
        """Whether what was prepared at that time may not be used now (seconds since 1970)."""
        return self.age_days is not None and now - prepared > self.age_days * DAY

    def refusal(self, items: int, nbytes: int, size: int) -> str | None:
        """Why no item of `size` bytes may be added to so many of `nbytes`."""
        if self.items is not None and items >= self.items:
            return f"{items} prepared items wait to be used, and the limit is {self.items}"
        if self.nbytes is not None and nbytes + size > self.nbytes:
            return (
                f"prepared items take {nbytes} bytes, another one {size}, and the limit is "
                f"{self.nbytes}"
            )
        return None


UNLIMITED = Limits()
