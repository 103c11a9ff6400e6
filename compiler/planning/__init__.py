"""From calibrated ranges to a plan: the unit and ring of every value, and the integers of every
layer. `plan.make_plan` for given widths, `search` for the cheapest.
"""
