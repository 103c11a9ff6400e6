"""What silent trees are checked by: sums of their nodes, and a receiver's u of them."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

REFERENCE, NATIVE = "protocols/kernels/reference/silent.py", "native/silent/trees.hpp"
ELEMENTS, SILENT = "protocols/ot/tree_checks.py", "protocols/ot/silent.py"
EQUAL, FOLLOWS = (
    "tests/protocols/test_tree_checks.py::test_noises_with_equal_sums_have_equal_trees",
    "tests/protocols/test_tree_checks.py::test_u_of_the_checks_follows_from_the_noise",
)
DEVIATIONS = "tests/attacks/test_silent_deviations.py"
ONCE = "tests/attacks/test_silent_challenges.py::test_no_coefficient_serves_twice"
EVERY_BLOCK = "tests/attacks/test_silent_answers.py::test_every_block_counts"

MUTANTS = (
    Mutant(
        name="the_sum_of_the_top_bit_is_left_out",
        breaks="noises in the two halves of a tree pass with different trees",
        file=REFERENCE,
        old="        sums[:, bit] = np.bitwise_xor.reduce(halves[:, :, 1], axis=(1, 2))\n",
        new="        sums[:, bit] = np.bitwise_xor.reduce(halves[:, :, 1], axis=(1, 2))\n"
        "    sums[:, -1:] = 0\n",
        tests=(EQUAL, FOLLOWS),
    ),
    Mutant(
        name="right_leaves_of_a_hashed_level_are_not_summed",
        breaks="an error in right leaves alone passes",
        file=REFERENCE,
        old="        for side in (left, right)\n        for checks",
        new="        for side in (left, left)\n        for checks",
        tests=(EQUAL, FOLLOWS),
    ),
    Mutant(
        name="the_sum_of_all_children_of_a_hashed_level_is_left_out",
        breaks="an error in the leaves under parent 0 passes",
        file=REFERENCE,
        old="np.bitwise_xor.reduce(side, axis=1)[:, None], _by_bits(side)",
        new="np.zeros_like(side[:, :1]), _by_bits(side)",
        tests=(EQUAL, FOLLOWS),
    ),
    Mutant(
        name="sums_are_made_before_the_path_is_repaired",
        breaks="an error of a level's sum is not in the sums by bits",
        file=REFERENCE,
        old="        left ^= _at(holes >> np.uint16(depth - level), 1 << level) & "
        "repair[:, None, :]\n        made.append(_by_bits(left))\n",
        new="        made.append(_by_bits(left))\n"
        "        left ^= _at(holes >> np.uint16(depth - level), 1 << level) & repair[:, None, :]\n",
        tests=(EQUAL, FOLLOWS),
    ),
    Mutant(
        name="sums_of_compiled_trees_are_not_repaired",
        breaks="an error of a level's sum is not in the sums by bits",
        file=NATIVE,
        old="    repair_checks(checks, level, parent, change);\n",
        new="",
        tests=(FOLLOWS, EVERY_BLOCK),
    ),
    Mutant(
        name="sums_of_compiled_right_leaves_are_not_repaired",
        breaks="an error in right leaves is not in the sums",
        file=NATIVE,
        old="    repair_checks(checks + 16 * depth, depth, parent, change.right);\n",
        new="",
        tests=(FOLLOWS, EVERY_BLOCK),
    ),
    Mutant(
        name="sums_of_all_are_repaired_by_a_bit",
        breaks="an error in the leaves under parent 0 passes",
        file=NATIVE,
        old="const u64 parent = (hole >> 1) << 1 | 1;",
        new="const u64 parent = hole;",
        tests=(FOLLOWS,),
    ),
    Mutant(
        name="sums_of_the_upper_bits_are_of_other_children",
        breaks="noises far from one another pass with different trees",
        file=NATIVE,
        old="      if (step >> bit & 1) steps_[bit]",
        new="      if (step >> bit != 0) steps_[bit]",
        tests=(FOLLOWS,),
    ),
    Mutant(
        name="u_of_sums_by_the_childs_own_bit",
        breaks="honest parties do not fit, or sums of other nodes are compared",
        file=ELEMENTS,
        old="bits[child + 1 :] & (bits[child]",
        new="bits[child:-1] & (bits[child]",
        tests=(FOLLOWS,),
    ),
    Mutant(
        name="u_of_sums_where_the_path_goes_right",
        breaks="honest parties do not fit",
        file=ELEMENTS,
        old="(bits[child] ^ np.uint8(1))",
        new="bits[child]",
        tests=(FOLLOWS,),
    ),
    Mutant(
        name="u_of_hashed_sums_is_one",
        breaks="honest parties over F_16 do not fit",
        file=ELEMENTS,
        old="        right = bits[:1] * values\n",
        new="        values = np.ones_like(values)\n        right = bits[:1] * values\n",
        tests=(FOLLOWS,),
    ),
    Mutant(
        name="reserved_trees_are_not_checked",
        breaks="what the next iteration starts from is wrong for some noises, unnoticed",
        file=SILENT,
        old="        return rows[: p.reserved], checks\n",
        new="        return rows[: p.reserved], (checks[0][:0], checks[1][:0])\n",
        tests=(
            f"{DEVIATIONS}::test_what_the_next_iteration_starts_from_must_be_right",
            EVERY_BLOCK,
        ),
    ),
    Mutant(
        name="trees_that_rows_are_taken_from_are_not_checked",
        breaks="a sender's wrong trees pass",
        file=SILENT,
        old="        self.tally.add(*self._expand(forest, trees, rows))\n",
        new="        self._expand(forest, trees, rows)\n",
        tests=(f"{DEVIATIONS}::test_a_wrong_sum_is_caught", EVERY_BLOCK),
    ),
    Mutant(
        name="a_sender_hashes_before_its_answer_is_complete",
        breaks="reserved trees of a refill have coefficients that were known before it",
        file=SILENT,
        old="            self.tally.refilled(code, answer)\n"
        "            for _, checks in made:\n                self.tally.add(*checks)\n",
        new="            for _, checks in made:\n                self.tally.add(*checks)\n"
        "            self.tally.refilled(code, answer)\n",
        tests=(ONCE, EVERY_BLOCK),
    ),
)
