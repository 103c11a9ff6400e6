"""The search for widths: its variables, what a choice of them costs and what error it makes, and
the descent to the cheapest choice within a bound (`searched_plan`).
"""
