"""What the client computes by itself from the revealed values: a public expression, data and no
code (`expression`), of a closed list of operations (`operations`), which people can read (`text`).
"""
