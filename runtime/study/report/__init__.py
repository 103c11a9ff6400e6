"""The report of a study: a page that a statistician signs, its numbers as JSON and CSV."""

from __future__ import annotations

from moiety.runtime.study.report.write import write_report

__all__ = ["write_report"]
