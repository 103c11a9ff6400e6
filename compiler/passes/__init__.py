"""The passes, in one table by name, and the default pipeline, whose result is in
normal form (`check_normal_form`).
"""

from __future__ import annotations

from moiety.compiler.ir.graph import Graph
from moiety.compiler.passes.absorb_batchnorm import AbsorbBatchnorm
from moiety.compiler.passes.base import Pass
from moiety.compiler.passes.canonicalise import Canonicalise
from moiety.compiler.passes.cleanup import CommonSubexpressions, DeadCode
from moiety.compiler.passes.clip_to_relu import ClipToRelu
from moiety.compiler.passes.fold_batchnorm import FoldBatchnorm
from moiety.compiler.passes.pool_before_conv import PoolBeforeConv1x1
from moiety.compiler.passes.relu_after_maxpool import ReluAfterMaxpool
from moiety.compiler.passes.strided_conv import StridedConv
from moiety.compiler.passes.subpixel import TransposedConv, UpsampleIntoConv
from moiety.compiler.passes.upsampling import ExpandUpsample, UpsampleLate
from moiety.protocols.errors import BadModel

PASSES: dict[str, type[Pass]] = {
    each.name: each
    for each in (
        AbsorbBatchnorm,
        Canonicalise,
        ClipToRelu,
        CommonSubexpressions,
        DeadCode,
        ExpandUpsample,
        FoldBatchnorm,
        PoolBeforeConv1x1,
        ReluAfterMaxpool,
        StridedConv,
        TransposedConv,
        UpsampleIntoConv,
        UpsampleLate,
    )
}

DEFAULT_PIPELINE = (
    "dead-code,canonicalise,common-subexpressions,upsample-late,fold-batchnorm,transposed-conv,upsample-into-conv,"
    "expand-upsample,relu-after-maxpool,clip-to-relu,pool-before-conv1x1,absorb-batchnorm,strided-conv,canonicalise,"
    "common-subexpressions"
)


def check_normal_form(graph: Graph) -> None:
    """Raise BadModel unless the planner can take the Graph: every Conv has stride 1, and no Clip,
    ConvTranspose or Upsample is left.
    """
    rewritten = {"ConvTranspose": "transposed-conv", "Upsample": "expand-upsample"}
    for node in graph.nodes:
        if node.op in rewritten:
            raise BadModel(
                f"{node.op} {node.name!r} is left after the passes: add {rewritten[node.op]} to the pipeline"
            )
        if node.op == "Clip":
            raise BadModel(
                f"Clip {node.name!r} with bounds ({node.attrs['min']:g}, {node.attrs['max']:g}) is left after the "
                "passes: only Clip(0, m) can be computed; add clip-to-relu to the pipeline, or change the model"
            )
        if node.op == "Conv" and set(node.attrs["strides"]) != {1}:
            raise BadModel(
                f"Conv {node.name!r} still has strides {node.attrs['strides']}: add strided-conv to the pipeline"
            )


__all__ = ["DEFAULT_PIPELINE", "PASSES", "Pass", "check_normal_form"]
