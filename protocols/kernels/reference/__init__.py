"""The NumPy twins: the specification of the compiled kernels, bit for bit.

A family is a module with `__all__`, the names of its kernels: `symmetric`, `gates`, `streams`,
`rlwe`, `silent`. What they share is in `checks`, `blocks`, `field`, `pool` and `transfers`, which
export no kernel.

Conventions of all but `rlwe`. A *block* is 128 bits, `uint8 (16,)`. `n` counts correlations, `k` is
their width in bits (1..4). The `key` of a call that hashes is the AES key of its first elements;
the next ones have the next, counted up in its low half (`blocks.mmo`). Bit streams are
little-endian (`streams`). An element of F_16 is a nibble (`field`).

A kernel that threads can share has a last argument `pool`; its result does not depend on it, and
nothing here reads it (`pool.Pool`).

Nothing secret decides a branch or a memory index. Secret arguments (digits, choices) are therefore
not range-checked: values of `2^k` and more break the contract and give meaningless results. All
functions raise TypeError for a wrong dtype and ValueError for a wrong shape or a public integer out
of range.
"""
