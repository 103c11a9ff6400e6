"""The figures that a promise, a format or another party's machine rests on, written out once more:
a test that imports a constant and computes with it passes whatever the constant is.

A change of one of them is a change of what is promised: look at docs/security.md, at the version
numbers of formats and wire, and at benchmarks.security_estimate, then write it here.
"""

from __future__ import annotations

import datetime
import importlib

import pytest

from moiety.protocols.ot.lpn import LpnParameters

SECRECY = {
    "protocols.linear.parameters.MAX_LOG2_Q": {2048: 53, 4096: 106, 8192: 214},
    "protocols.linear.parameters.ERROR_PARAMETER": 21,
    "protocols.linear.parameters.FAILURE_BITS": 64,
    "protocols.linear.rlwe.SEED_BYTES": 16,
    "protocols.kernels.reference.blocks.BLOCKS_PER_KEY": 1024,
    "protocols.ot.lpn.BITS": LpnParameters(seeds=81920, trees=850, depth=10, width=1),
    "protocols.ot.lpn.NIBBLES": LpnParameters(seeds=81920, trees=850, depth=10, width=4),
    "protocols.ot.lpn.NONCE_BYTES": 16,
    "protocols.kernels.reference.silent.DEGREE": 10,
    "protocols.ot.softspoken.TREES": 32,
    "protocols.ot.softspoken.LEAVES": 16,
    "protocols.ot.softspoken.CHECK_BYTES": 32,
    "protocols.ot.consistency.DIGEST_BYTES": 32,
    "protocols.ot.confirmation.SHARE_BYTES": 32,
    "protocols.ot.confirmation.TAG_BYTES": 32,
    "protocols.ot.base_ot.KEY": 16,
    "protocols.ot.keys.KEY": 16,
    "protocols.aggregate.quorum.FIELD": 170141183460469231731687303715884105727,
    "runtime.program.weights.SALT_BYTES": 32,
    "runtime.party.cohorts.ID_BYTES": 16,
}
EXACTNESS = {
    "protocols.linear.parameters.FLOAT_BITS": 53,
    "protocols.linear.parameters.MAX_WEIGHT_BITS": 20,
    "protocols.linear.parameters.MAX_ANSWER_BITS": 56,
    "protocols.linear.parameters.MAX_GUARD": 8,
    "protocols.compare.digits.MAX_THRESHOLDS": 32,
    "runtime.program.expression.elementwise.EXACT_INTEGER": 9007199254740992,
}
FORMATS = {
    "runtime.party.handshake.PROTOCOL": 8,
    "runtime.program.program.VERSION": 6,
    "runtime.study.journal.VERSION": 1,
    "runtime.party.framing.Frame.DATA": 1,
    "runtime.party.framing.Frame.MESSAGE": 2,
    "runtime.party.framing.Frame.ERROR": 3,
    "runtime.party.framing.Frame.GOODBYE": 4,
    "runtime.party.framing.Frame.KEEPALIVE": 5,
    "runtime.party.framing.PeerRefused.DENIED": 10,
    "runtime.operation.audit.GENESIS": 64 * "0",
    "protocols.aggregate.marks.UNKNOWN": 0,
    "protocols.aggregate.marks.POSITIVE": 1,
    "protocols.aggregate.marks.NEGATIVE": 2,
}
REFUSALS = {
    "runtime.operation.access.FAILED_CHECKS": 3,
    "runtime.party.handshake.HANDSHAKE_SECONDS": 10.0,
    "runtime.party.handshake.LONGEST_WAIT": 86400.0,
    "runtime.party.certificates._CLOCKS_DIFFER": datetime.timedelta(hours=1),
    "runtime.party.server.front.TICKET_SECONDS": 60.0,
    "runtime.party.cohorts.FEWEST": 2,
    "runtime.program.policy.MAX_COHORT": 4096,
    "protocols.aggregate.auroc.MAX_IMAGES": 4096,
    "runtime.program.bounds.DEFAULT": 2147483648,
    "runtime.program.program.MAX_ELEMENTS": 268435456,
    "runtime.program.steps.base.MAX_STEPS": 100000,
    "runtime.program.expression.expression.MAX_OPERATIONS": 4096,
    "runtime.program.expression.expression.MAX_CONSTANTS": 65536,
    "runtime.program.expression.expression.MAX_WORK": 268435456,
    "runtime.program.linear_layers.MAX_BATCH": 64,
    "runtime.program.atomic.OWNER_ALONE": 0o600,
    "runtime.study.evaluate.FOLDER_MODE": 0o700,
    "runtime.intake.contents.LARGEST_FILE": 1073741824,
    "runtime.intake.dicom.reading.LARGEST_FILE": 1073741824,
    "runtime.intake.dicom.pixels.LARGEST": 134217728,
    "runtime.study.lists.LARGEST_LIST": 268435456,
}
STATISTICS = {
    "runtime.study.statistics.disclosure.FEWEST": 10,
    "runtime.study.statistics.disclosure.GROUP": 40,
    "runtime.study.statistics.intervals.Z_95": pytest.approx(1.959964, abs=1e-6),
    "runtime.study.statistics.intervals.Z_90": pytest.approx(1.644854, abs=1e-6),
    "runtime.study.statistics.intervals.SIGNIFICANCE": 0.05,
    "runtime.study.statistics.resampling.LEAST_UNITS": 10,
    "runtime.study.statistics.resampling.LEAST_USABLE": 0.9,
}
FIGURES = SECRECY | EXACTNESS | FORMATS | REFUSALS | STATISTICS


def value(path: str) -> object:
    """Of a constant of a module, or of a class in one."""
    module, _, name = path.rpartition(".")
    try:
        holder: object = importlib.import_module(f"moiety.{module}")
    except ModuleNotFoundError:
        outer, _, inner = module.rpartition(".")
        holder = getattr(importlib.import_module(f"moiety.{outer}"), inner)
    return getattr(holder, name)


@pytest.mark.parametrize("path", FIGURES)
def test_a_figure_is_what_is_promised(path: str) -> None:
    assert value(path) == FIGURES[path]
