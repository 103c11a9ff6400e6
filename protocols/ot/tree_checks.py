"""What the trees of a silent generator are checked by: sums of nodes, 45 or 56 of a tree that has
1024 leaves.

Each sum is a correlation like the leaves are, `w = v + u*delta`: the sender has w, the sum of its
nodes, the receiver v, that of the nodes as it keeps them, and u, which follows from its hole and
the value there (`elements_of`). So sums are hashed and compared as correlations are (ot/tally), and
whether they are right decides about all nodes:

*Two noises whose sums are equal have equal trees*, whatever a sender has answered. A *tree* here is
the receiver's v, less delta where its node is the sender's plus delta, that is on the path, and
less beta*delta in the hole of a hashed level. Say that two noises have equal nodes on one level,
and the holes' paths cross it at the parents numbered a and b. From equal nodes H makes equal
children everywhere, but for the path's own, which the answer's sum of the level sets:

* On a correlated level to `h + e`, h the honest left child and e the error of the sum, which is the
  same for both noises, the right child to that plus the parent. The two trees differ if a != b and
  e != 0; then some bit is set in a and not in b, or the reverse, and its sums differ by e.
* On a hashed level to `h + e` and `h' + e'`, where (e, e') depends on which child is the hole. The
  sums of all left and of all right children show e and e', so these are equal where sums are; and
  if they are not both zero, the sums by bits show that a and b are equal, as above.

The first level is one block, from which either noise has the same tree. So it holds for all levels,
and for the rows, which are leaves plus the same outputs of the code of earlier rows, iteration by
iteration. Nothing is asked of H.

A bet on the noise is therefore as dear as it would be if all leaves were compared (Ferret, CCS
2020; Wolverine, S&P 2021): a sender whose answer has an error passes with the noises of one tree
alone, the same for all of them, and whatever it hears afterwards of wrong rows tells those apart
from no others.
"""

from __future__ import annotations

import numpy as np

from moiety.protocols.arrays import U8, U16


def elements_of(holes: U16, values: U8, depth: int, width: int) -> U8:
    """The receiver's u of the checks of trees with these holes and values there, uint16 and uint8
    `(t,)`, secret: uint8 `(t, checks)` in the order of kernels.expand_punctured. Width 1: all
    values are 1.
    """
    bits = (holes >> np.arange(depth, dtype=np.uint16)[:, None] & np.uint16(1)).astype(np.uint8)
    parts = []
    for level in range(1, depth - (width == 4)):
        # A left child on the path is the true one plus delta; its parent's bits are those above.
        child = depth - level - 1
        parts.append(bits[child + 1 :] & (bits[child] ^ np.uint8(1)))
    if width == 4:
        right = bits[:1] * values
        for hole in (right ^ values, right):
            parts += [hole, bits[1:] * hole]
    return np.ascontiguousarray(np.concatenate(parts).T)
