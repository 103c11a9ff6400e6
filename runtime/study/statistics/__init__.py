"""The numbers of a study: discrimination, agreement, calibration, decisions, resources."""

from moiety.runtime.study.statistics.whole import analyse

__all__ = ["analyse"]
