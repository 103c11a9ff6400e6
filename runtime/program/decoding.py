"""What reading JSON or TOML that somebody else wrote can raise."""

from __future__ import annotations

from typing import Final

import msgspec

UNREADABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""Of `msgspec.json.decode`, for any bytes: what does not fit the type, text that is not UTF-8,
nesting without end.
"""

NO_TOML: Final = (ValueError, RecursionError)
"""Of `tomllib.loads` and of decoding its text: besides its own error, a number of thousands of
digits, nesting without end.
"""
