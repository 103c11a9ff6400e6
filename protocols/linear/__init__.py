"""Homomorphic linear layers: RLWE parameters and layouts, both parties' sides, and what
they cost.
"""
