"""Importer of BatchNormalization."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from moiety.compiler.onnx_import.call import Call, importer


@importer("BatchNormalization")
def _batch_normalization(call: Call) -> Sequence[str]:
    """Inference mode, one output."""
    if call.attrs.get("training_mode", 0):
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
    denominator = variance + call.attrs.get("epsilon", 1e-5)
    if denominator.min(initial=1) <= 0:
        call.fail(
            f"tensor {call.proto.input[4]!r} has negative variances",
            "export the model from an intact checkpoint",
        )
    scale = gamma / np.sqrt(denominator)
    shift = call.finite(beta - mean * scale, call.proto.input[2])
    return [
        call.emit(
            "Scale", [call.value()], scale=call.finite(scale, call.proto.input[1]), shift=shift
        )
    ]
