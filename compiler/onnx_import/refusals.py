"""What to do about ONNX operators that have no importer."""

from __future__ import annotations

from collections.abc import Mapping

RANDOM = (
    "RandomNormal",
    "RandomUniform",
    "RandomNormalLike",
    "RandomUniformLike",
    "Bernoulli",
    "Multinomial",
)
CONTROL_FLOW = ("If", "Loop", "Scan")

_ADVICE: Mapping[tuple[str, ...], str] = {
    (
        "GatherElements",
        "GatherND",
        "ScatterElements",
        "ScatterND",
        "GridSample",
    ): "where it reads depends on numbers; use Slice, Gather or Resize with constants",
    (
        "ReduceLogSum",
        "ReduceLogSumExp",
        "ReduceProd",
        "GlobalLpPool",
        "LpPool",
    ): "it is no linear map; use ReduceMean, ReduceSum, ReduceMax, ReduceL1 or ReduceL2",
    (
        "LSTM",
        "GRU",
        "RNN",
        "Attention",
        "Einsum",
    ): "only convolutional networks are supported",
    (
        "QLinearConv",
        "QLinearMatMul",
        "ConvInteger",
        "MatMulInteger",
        "DynamicQuantizeLinear",
    ): "give the float model; the compiler chooses the fixed-point numbers itself",
    CONTROL_FLOW: (
        "its path depends on the data, which nobody may see; export the model without it"
    ),
    (
        "NonZero",
        "NonMaxSuppression",
        "Unique",
        "Compress",
    ): "cut it off the model and apply it to the revealed output",
    (
        "ArgMax",
        "ArgMin",
        "TopK",
    ): "which places are largest is secret there; choose behind the last layer",
    RANDOM: "export the model in inference mode",
}


def advice(op_type: str) -> str:
    """What the model's author can do instead."""
    for op_types, text in _ADVICE.items():
        if op_type in op_types:
            return text
    return "express it with the operators listed in docs/onnx-support.md"
