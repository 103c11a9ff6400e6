"""Oblivious transfer: base transfers, two generators of VOLE correlations, and the 1-of-2^k
transfers that every comparison is made of.
"""
