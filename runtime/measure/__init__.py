"""Takes a machine's figures (runtime/cost/machine): one file per family of them, `machine.py` runs
them all.
"""
