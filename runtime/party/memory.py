"""What the C library's allocator does with memory that a run has freed."""

from __future__ import annotations

import contextlib
import ctypes

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of glibc's mallopt
_KEPT = 64 << 20
_LARGEST = 32 << 20
"""The largest threshold that glibc takes."""


def keep_freed() -> None:
    """Let this process keep up to 64 MiB that it has freed. By default glibc gives every large
    array back to the system at once, and the next one, made a moment later, is mapped and cleared
    page by page. Does nothing where there is no glibc.
    """
    with contextlib.suppress(OSError, AttributeError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_TRIM_THRESHOLD, _KEPT)
        mallopt(_MMAP_THRESHOLD, _LARGEST)
