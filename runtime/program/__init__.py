"""The Program: what both parties know, what it means, and where it is kept."""

from moiety.protocols.linear.parameters import Masking, RlwePlan
from moiety.runtime.program.atomic import write_atomically
from moiety.runtime.program.preprocessing import Preprocessing, picture_shape
from moiety.runtime.program.program import FORMAT, VERSION, Program
from moiety.runtime.program.steps import KINDS, AnyStep
from moiety.runtime.program.steps.base import LocalStep, Rounding, SecretTensor, Step
from moiety.runtime.program.steps.ends import Input, Output
from moiety.runtime.program.steps.gates import Gates, Relu
from moiety.runtime.program.steps.linear import Linear
from moiety.runtime.program.steps.local import (
    Add,
    AddConst,
    Concat,
    Pad,
    Reshape,
    Slice,
    Transpose,
)
from moiety.runtime.program.steps.pooling import MaxPool, SumPool
from moiety.runtime.program.steps.rounding import Extend, Reduce, Truncate

__all__ = [
    "FORMAT",
    "KINDS",
    "VERSION",
    "Add",
    "AddConst",
    "AnyStep",
    "Concat",
    "Extend",
    "Gates",
    "Input",
    "Linear",
    "LocalStep",
    "Masking",
    "MaxPool",
    "Output",
    "Pad",
    "Preprocessing",
    "Program",
    "Reduce",
    "Relu",
    "Reshape",
    "RlwePlan",
    "Rounding",
    "SecretTensor",
    "Slice",
    "Step",
    "SumPool",
    "Transpose",
    "Truncate",
    "picture_shape",
    "write_atomically",
]
