"""Where a party tells what happens: the audit log and the metrics, those that there are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from moiety.runtime.operation.audit import AuditLog
from moiety.runtime.operation.events import COUNTED_ALONE, Event
from moiety.runtime.operation.health import Health


@dataclass(frozen=True)
class Recorder:
    """Records the events of one party that runs one Program. Any process that has it may record."""

    side: str = ""
    program: str = ""
    audit: AuditLog | None = None
    health: Health | None = None

    def record(self, event: Event) -> None:
        """Raises `BadInput` where the audit log cannot be written: what was to be recorded must
        not happen then.
        """
        if self.audit is not None and not isinstance(event, COUNTED_ALONE):
            self.audit.append(self._line(event))
        if self.health is not None:
            self.health.record(event)

    def _line(self, event: Event) -> dict[str, Any]:
        told = msgspec.to_builtins(event)
        return {"event": told.pop("event"), "side": self.side, "program": self.program, **told}


NOWHERE = Recorder()
"""Keeps nothing."""
