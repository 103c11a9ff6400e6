"""One process at a time."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path

from moiety.protocols.errors import BadInput
from moiety.runtime.operation.files import check_private, unusable
from moiety.runtime.program.atomic import OWNER_ALONE

LOCK = "lock"


class StoreHeld(BadInput):
    """Another process has the store."""


def held(folder: Path) -> int:
    """The descriptor of the lock, with this process's number in it. A crash frees it. Raises
    `StoreHeld`; `BadInput` where there can be no lock.
    """
    check_private(folder)
    path = folder / LOCK
    try:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(path, flags, OWNER_ALONE)
    except OSError as error:
        raise unusable(path, "a store's lock", error) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with suppress(OSError):  # on a full disk nobody learns who has it, and that is all
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, b"%d\n" % os.getpid(), 0)
    except BlockingIOError:
        holder = os.pread(descriptor, 20, 0).strip()
        os.close(descriptor)
        who = f"process {int(holder)}" if holder.isdigit() else "another process"
        raise StoreHeld(
            f"{folder}: {who} has this store open, and it is used by one at a time; wait for it, "
            "or end it"
        ) from None
    except OSError as error:
        os.close(descriptor)
        raise unusable(path, "a store's lock", error) from error
    return descriptor
