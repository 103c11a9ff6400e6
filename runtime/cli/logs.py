"""The log: lines of text or of JSON, to standard error or to a file that may be rotated."""

from __future__ import annotations

import json
import logging
import os
import sys
from datetime import UTC, datetime
from enum import StrEnum
from logging.handlers import WatchedFileHandler
from pathlib import Path

from moiety.protocols.errors import BadInput
from moiety.runtime.operation.audit import utc_text
from moiety.runtime.program.atomic import OWNER_ALONE

TEXT = "%(asctime)s %(levelname)s %(message)s"


class LogFormat(StrEnum):
    """What a line of the log looks like."""

    text = "text"
    json = "json"


class JsonLines(logging.Formatter):
    """An object a line: time (UTC), level, logger, process, message, and the traceback of a bug."""

    def format(self, record: logging.LogRecord) -> str:
        fields = {
            "time": utc_text(datetime.fromtimestamp(record.created, UTC)),
            "level": record.levelname.lower(),
            "logger": record.name,
            "process": record.process,
            "message": record.getMessage(),
        }
        if record.exc_info:
            fields["traceback"] = self.formatException(record.exc_info)
        return json.dumps(fields)


class LogFile(WatchedFileHandler):
    """A file that is opened anew when it was moved away, for its owner alone. When it cannot be
    written, standard error gets the line.
    """

    def _open(self):  # type: ignore[no-untyped-def]
        descriptor = os.open(
            self.baseFilename, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, OWNER_ALONE
        )
        return open(descriptor, "a", encoding="utf-8", errors="backslashreplace")

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        print(self.format(record), f"(not in {self.baseFilename})", sep=" ", file=sys.stderr)


def start_log(file: Path | None = None, form: LogFormat = LogFormat.text) -> None:
    """Events of this process go to `file`, or to standard error. Raises `BadInput`."""
    try:
        handler = LogFile(file) if file else logging.StreamHandler(sys.stderr)
    except OSError as error:
        raise BadInput(f"{file}: cannot write the log there: {error.strerror}") from error
    handler.setFormatter(JsonLines() if form is LogFormat.json else logging.Formatter(TEXT))
    logging.basicConfig(handlers=[handler], level=logging.INFO, force=True)
