"""The lists that test_refusals.py compares with."""

from __future__ import annotations

ACCEPTED = {
    "add.inputs": 8,
    "add.signs": 8,
    "addconst.inputs": 5,
    "combine.factors": 22,
    "concat.axis": 4,
    "concat.inputs": 8,
    "count.bits": 1,
    "extend.bits": 6,
    "extend.headroom": 3,
    "extend.inputs": 3,
    "gates.compared": 6,
    "gates.joint": 1,
    "gates.shape": 5,
    "input.bits": 32,
    "input.scale": 16,
    "input.shape": 201,
    "input.value_bits": 10,
    "linear.dilations": 24,
    "linear.groups": 4,
    "linear.guard": 19,
    "linear.inputs": 10,
    "linear.kernel": 28,
    "linear.pads": 104,
    "linear.rlwe": 112,
    "linear.shape": 24,
    "linear.weight_bits": 16,
    "linearmap.axis": 1,
    "linearmap.starts": 2,
    "linearmap.taps": 19,
    "maxpool.inputs": 3,
    "maxpool.kernel": 8,
    "maxpool.pads": 16,
    "maxpool.strides": 16,
    "output.expected": 12,
    "output.inputs": 21,
    "output.scale": 13,
    "pad.inputs": 5,
    "pad.pads": 50,
    "product.inputs": 12,
    "reduce.bits": 12,
    "reduce.inputs": 7,
    "relu.affine": 6,
    "relu.bits": 12,
    "relu.inputs": 12,
    "reshape.inputs": 7,
    "reshape.shape": 4,
    "slice.inputs": 2,
    "slice.starts": 9,
    "slice.stops": 12,
    "slice.strides": 35,
    "square.bits": 2,
    "square.inputs": 3,
    "sumpool.inputs": 5,
    "sumpool.kernel": 12,
    "sumpool.pads": 12,
    "sumpool.strides": 30,
    "transpose.inputs": 5,
    "truncate.inputs": 15,
    "truncate.rounding": 3,
    "truncate.shift": 28,
}
"""How many changes of a field are let through, by kind of step: other numbers where any will do,
other shapes where they follow from nothing.
"""

REASONS = {
    "# factors for an axis of #": "combine",
    "# groups do not divide # channels and # filters": "linear",
    "# guard bits; exact rounding takes # to #": "linear",
    "# is not an NTT prime for degree # of # to # bits": "linear",
    "# thresholds; # to # are possible": "gates",
    "() is not a permutation of # axes": "transpose",
    "RLWE primes must be distinct and at least one": "linear",
    "a kernel of () is larger than its operand ()": "maxpool sumpool",
    "a linear layer takes and makes three axes (C, H, W)": "linear",
    "a ring of # bits does not hold a count of #": "count",
    "a row's weights sum up to more than #": "linearmap",
    "a second operand of shape () does not spread over ()": "product",
    "a square in a ring of # bits of a value of #: two more are needed": "square",
    "a stochastic truncation in a Program that promises exact rounding": "truncate",
    "an empty packing": "linear",
    "answer_bits # do not fit": "linear",
    "axis # is not one of #": "concat linearmap",
    "compared in a ring of # bits, its operand has #": "gates",
    "factors that sum up to # do not fit a ring of # bits": "combine",
    "gate bits and ring elements mixed": "concat",
    "gate bits can only be reindexed": "output",
    "gate bits have ring width #": "concat gates output reshape slice",
    "gates of shape () for ()": "relu",
    "guard bits without exact rounding": "linear",
    "it counts something else than gate bits": "count",
    "it has # operands": (
        "add addconst argmax combine count extend gates linear linearmap maxpool output pad "
        "product reduce relu reshape slice square sumpool transpose truncate"
    ),
    "it reads a linear layer, and does not truncate its # guard bits exactly": (
        "addconst linear maxpool output pad reduce relu sumpool transpose truncate"
    ),
    "its second operand has # bits, more than the first ()": "product",
    "its second operand is not a tensor of gate bits": "relu",
    "joint with something else than the exact truncation right before it": "gates",
    "kernel and dilations must be positive": "linear",
    "kernel and strides must be positive": "maxpool sumpool",
    "limits do not fit an operand of shape ()": "slice",
    "operands () are not all earlier steps": (
        "add addconst argmax combine concat count extend gates linear linearmap maxpool "
        "output pad product reduce relu reshape slice square sumpool transpose truncate"
    ),
    "operands differ beyond the axis": "concat",
    "operands live in different rings, () bits": "add concat",
    "pads () do not fit": "pad",
    "pads must not be negative": "linear",
    "pads reach the kernel": "maxpool sumpool",
    "ring degree # is not supported; use one of ()": "linear",
    "ring width # is not within #": (
        "add addconst argmax combine concat extend input linear linearmap maxpool output pad "
        "product reduce relu reshape slice square sumpool transpose truncate"
    ),
    "ring width # where its operands give #": (
        "add addconst argmax combine concat linear linearmap maxpool output pad product "
        "reshape slice sumpool transpose truncate"
    ),
    "rows reach beyond the # elements of axis #": "linearmap",
    "scale # is not positive": "input output",
    "shape () from an operand of shape ()": "reshape",
    "shape () has an empty dimension": (
        "add addconst argmax combine concat count extend gates input linear linearmap maxpool "
        "output pad product reduce relu reshape slice square sumpool transpose truncate"
    ),
    "shape () has an impossible rank": "argmax combine count input output reshape",
    "shape () where its operand has ()": "gates",
    "shape () where its operands give ()": (
        "add addconst argmax combine concat count extend linear linearmap maxpool output pad "
        "product reduce relu slice square sumpool transpose truncate"
    ),
    "shift # does not fit a ring of # bits": "truncate",
    "signs () are not all +# or #": "add",
    "the range # to # is none of its ring": "output",
    "the result's ring (# bits) is narrower than the operand's ()": "extend relu",
    "the result's ring (# bits) is wider than the operand's ()": "reduce",
    "there are not as many signs as operands": "add",
    "there is not one row of taps, all of one length, for each start": "linearmap",
    "value_bits # exceed the ring": "input",
    "weight_bits # exceed #": "linear",
}
"""Why steps are refused, and of which kinds."""
