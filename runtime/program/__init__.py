"""The Program: what both parties know, what it means, and where it is kept."""

from moiety.protocols.linear.parameters import RlwePlan
from moiety.runtime.program.atomic import write_atomically
from moiety.runtime.program.case import Case, tensors_of
from moiety.runtime.program.expression.expression import Expression, Result
from moiety.runtime.program.policy import Policy
from moiety.runtime.program.preprocessing import Preprocessing, picture_shape, takes_pictures
from moiety.runtime.program.program import FORMAT, VERSION, Program
from moiety.runtime.program.steps import (
    KINDS,
    AnyStep,
    decisions,
    ends,
    gates,
    linear,
    local,
    maps,
    pooling,
    products,
    rounding,
)
from moiety.runtime.program.steps.base import LocalStep, Rounding, SecretTensor, Step
from moiety.runtime.program.steps.decisions import *
from moiety.runtime.program.steps.ends import *
from moiety.runtime.program.steps.gates import *
from moiety.runtime.program.steps.linear import *
from moiety.runtime.program.steps.local import *
from moiety.runtime.program.steps.maps import *
from moiety.runtime.program.steps.pooling import *
from moiety.runtime.program.steps.products import *
from moiety.runtime.program.steps.rounding import *

__all__ = [
    "FORMAT",
    "KINDS",
    "VERSION",
    "AnyStep",
    "Case",
    "Expression",
    "LocalStep",
    "Policy",
    "Preprocessing",
    "Program",
    "Result",
    "RlwePlan",
    "Rounding",
    "SecretTensor",
    "Step",
    "picture_shape",
    "takes_pictures",
    "tensors_of",
    "write_atomically",
]
__all__ += decisions.__all__
__all__ += ends.__all__
__all__ += gates.__all__
__all__ += linear.__all__
__all__ += local.__all__
__all__ += maps.__all__
__all__ += pooling.__all__
__all__ += products.__all__
__all__ += rounding.__all__
