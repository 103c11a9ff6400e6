"""Passes: Graph -> Graph, each an identity over the reals, up to the normal form that the planner
takes. A new pass is one file with a `@register`ed class, and its name in a pipeline (`pipeline`).
"""

from moiety.compiler.registry import import_all

import_all(__name__, __path__)
