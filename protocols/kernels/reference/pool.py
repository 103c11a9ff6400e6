"""What a kernel's threads are to the reference: nothing, since it computes a call at once."""

from __future__ import annotations

from moiety.protocols.kernels.reference.checks import check_range


class Pool:
    """Threads that the compiled kernels share the ranges of a call among: the type of `pool`, the
    last argument of kernels that are worth it, None for the caller's thread alone. The result is
    the same.

    Specifies native/pool.hpp. Callers may share a pool: it works for one at a time, the others do
    their calls alone, and so does everybody after `close`.
    """

    def __init__(self, threads: int, hand_over: int = 3000) -> None:
        """`threads`: 1..256, the caller's among them; `hand_over`: nanoseconds that waking another
        one takes, less than which no range of a call should.
        """
        check_range("threads", threads, 1, 256)
        check_range("hand_over", hand_over, 1, 10**9)
        self.threads = threads
        self.measured = False
        """Whether `seconds` counts."""
        self.seconds = 0.0
        """CPU seconds inside ranges of calls that were cut into several."""

    def close(self) -> None:
        """End the threads."""
