"""The search for widths: the cheapest plan whose predicted error at the results stays within a bound.

Variables are the activation bits of every group of tied tensors (a residual sum's operands) and the weight bits of every
linear layer. Rings follow from them: what is compared in how many bits, how wide a concatenation's ring is, how much a
truncation drops, how wide a layer's ring is, and so what the RLWE parameters must hold. Price and squared error are both
sums of terms that depend on few variables each, so

    minimise price(x)  subject to  squared_error(x) <= target^2

is solved by its Lagrangian: for a multiplier m, coordinate descent on `price + m * squared_error` over all values of a
variable at once (prices have steps, at every 4-bit digit for one), with joint moves for tensors that share a ring; a
bisection for m; and a last round of the best single moves into what is left of the bound. A test holds the outcome
against exhaustive search.

Prices are nanoseconds: bytes on the link that the Program is planned for, and the work of both parties, as declared in
protocols/digits and protocols/packing_plan. The error is that of error_model.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from moiety.compiler.calibrate import Progress, Ranges
from moiety.compiler.error_model import FIXED, predicted_error, required_responses, truncation_variance
from moiety.compiler.landscape import Landscape, State
from moiety.compiler.graph import Graph
from moiety.compiler.options import PlanOptions
from moiety.compiler.plan import Plan, make_plan
from moiety.compiler.units import Widths
from moiety.protocols.errors import BadPlan
