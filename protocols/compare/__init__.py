"""Everything on shares that is not linear: comparisons, ReLU, max-pool, truncation, conversions,
and the opening of results. A protocol per file, its cost beside it.
"""
