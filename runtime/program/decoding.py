"""What reading JSON that somebody else wrote can raise."""

from __future__ import annotations

from typing import Final

import msgspec

UNREADABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""Of `msgspec.json.decode`, for any bytes: what does not fit the type, text that is not UTF-8,
nesting without end.
"""
