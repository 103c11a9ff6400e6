"""Importer of BatchNormalization."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from moiety.compiler.onnx_import.call import Call, importer
from moiety.protocols.arrays import F64


@importer("BatchNormalization")
def _batch_normalization(call: Call) -> Sequence[str]:
    """Inference mode, one output."""
    if call.flag("training_mode"):
        call.fail("is in training mode", "export the model in inference mode (model.eval())")
    if call.attrs.get("spatial", 1) != 1:
        call.fail(
            "spatial=0 is not supported", "export the model with per-channel batch normalization"
        )
    call.only_first_output()
    names = ("scale", "bias", "mean", "variance")
    gamma, beta, mean, variance = (
        call.weight(index, what).astype(np.float64) for index, what in enumerate(names, start=1)
    )
    scale = gamma / np.sqrt(_denominator(call, variance))
    shift = call.finite(beta - mean * scale, call.proto.input[2])
    return [
        call.emit(
            "Scale", [call.value()], scale=call.finite(scale, call.proto.input[1]), shift=shift
        )
    ]


def _denominator(call: Call, variance: F64) -> F64:
    """Variance and epsilon, which must be positive together."""
    denominator: F64 = variance + call.attrs.get("epsilon", 1e-5)
    name, bad = call.proto.input[4], int((denominator <= 0).sum())
    if denominator.min(initial=1) < 0:
        call.fail(
            f"tensor {name!r} has negative variances", "export the model from an intact checkpoint"
        )
    if bad:
        call.fail(
            f"divides by zero in {bad} of {denominator.size} channels: their variances in tensor "
            f"{name!r} are 0, and so is epsilon",
            "set epsilon, for example to 1e-5, and check the model's accuracy: these channels "
            "never varied in training",
        )
    return denominator
