"""Where the command `moiety` begins: before anything else is imported, which takes a second, it is
settled what a signal does meanwhile.
"""

from __future__ import annotations

import os
import signal
from importlib import import_module
from types import FrameType
from typing import NoReturn

from moiety.runtime.party.signals import SIGNALS


def main() -> NoReturn:
    """The command. A signal ends it in one line, and so does a word in the environment that cannot
    be obeyed, which what is imported reads.
    """
    for number in SIGNALS:
        signal.signal(number, _leave)
    import_module("moiety.runtime.cli.ui").run(_begin)
    raise SystemExit


def _begin() -> None:
    import_module("moiety.runtime.cli.app").main()


def _leave(number: int, frame: FrameType | None) -> NoReturn:
    """At once: nothing is begun that would have to end in good order, and an exception would pass
    through whatever is being imported.
    """
    os.write(2, f"stopped by {signal.Signals(number).name}\n".encode())
    os._exit(128 + number)
