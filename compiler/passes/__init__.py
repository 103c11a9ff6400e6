"""The passes, in one table by name, and the default pipeline, whose result is in
normal form (`normal_form`).
"""

from __future__ import annotations

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


__all__ = ["DEFAULT_PIPELINE", "PASSES", "Pass"]
