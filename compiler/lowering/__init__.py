"""From a plan to a Program and its Weights: one step or a few for every op (`lower`,
`steps_of_ops`), and rewritings of the steps after that.
"""
