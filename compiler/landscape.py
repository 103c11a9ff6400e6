"""What the search for widths walks over: price and squared error of a plan as sums of terms in a few widths each.

It follows the rules by which plan.py and lower.py turn widths into rings, without making the integers: from one reference
plan, every unit scales as 2^-bits. Rings, shifts and digits are then exact except where a coarser unit or a frozen gate
would have been chosen otherwise; a test holds the predicted bits against those of real plans.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from moiety.compiler.error_model import FIXED, required_responses, truncation_variance
from moiety.compiler.fields import LINEAR
from moiety.compiler.graph import Graph, Node
from moiety.compiler.lower import Widening, parts_of
from moiety.compiler.plan import MAX_EXTRA_SHIFT, MAX_LAYER_BITS, Plan, ring_widths
from moiety.compiler.units import Units, ideal_weights
from moiety.protocols import packing
from moiety.protocols.digits import LINKS, MAX_THRESHOLDS, Link
from moiety.protocols.digits import plan as digit_plan
from moiety.protocols.digits import price as digit_price
from moiety.protocols.errors import BadPlan
from moiety.protocols.packing import Geometry, Layout
from moiety.protocols.packing_plan import BYTE, _moduli, cost, plan_linear
from moiety.protocols.rlwe_params import MAX_WEIGHT_BITS, Masking

State = list[int]
"""A width for every variable."""

NARROWEST, WIDEST = 7, 14
"""Widths that are tried for activations and for weights."""
