"""What a decoder writes to the process's standard error, which is all that libjpeg does when it
fills up what is missing from a damaged image, and what libtiff does beside failing.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

_STDERR = 2
_OF_DECODERS = re.compile(
    rb"JPEG|JFIF|Huffman|Adobe|SOS|marker|progression|scanlines|CharLS"
    rb"|Tile part|Stream too short|TIFF|tempfile\.tif|(LZW|ZIP|Fax|PackBits)\w*:"
)
_HARMLESS = re.compile(rb"JFIF revision|Adobe color transform")


@contextmanager
def heard() -> Iterator[list[str]]:
    """The complaints of decoders that run inside, there when it is left; other lines, of other
    threads, go where they were meant to go.
    """
    complaints: list[str] = []
    try:
        kept = os.dup(_STDERR)
    except OSError:  # a process without standard error
        yield complaints
        return
    if sys.stderr is not None:
        sys.stderr.flush()
    with tempfile.TemporaryFile() as caught:
        os.dup2(caught.fileno(), _STDERR)
        try:
            yield complaints
        finally:
            os.dup2(kept, _STDERR)
            os.close(kept)
            caught.seek(0)
            for line in caught.read().splitlines(keepends=True):
                if not _OF_DECODERS.search(line):
                    os.write(_STDERR, line)
                elif not _HARMLESS.search(line):
                    complaints.append(line.decode("ascii", "replace").strip())
