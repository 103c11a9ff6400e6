"""Programs: what their check refuses, and operands left alone."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

MUTANTS = (
    Mutant(
        name="rings_of_65_bits",
        breaks="elements wrap in 64 bits",
        file="runtime/program/steps/base.py",
        old="MAX_BITS = 64",
        new="MAX_BITS = 65",
        tests=("tests/runtime/test_refused_programs.py::test_limits_are_these",),
    ),
    Mutant(
        name="gate_bits_are_summed",
        breaks="XOR shares taken for additive ones",
        file="runtime/program/steps/base.py",
        old='        claim.require(self.TAKES_GATE_BITS, "gate bits can only be reindexed")\n',
        new="",
        tests=("tests/runtime/test_refused_programs.py::test_what_is_wrong_together_is_refused",),
    ),
    Mutant(
        name="guard_bits_revealed",
        breaks="noise of an exact layer, which tells weights, stays in the result",
        file="runtime/program/steps/linear.py",
        old="            claim.step.drops >= self.guard,",
        new="            claim.step.drops >= self.guard - 1,",
        tests=("tests/runtime/test_refusals.py::test_no_more_is_let_through",),
    ),
    Mutant(
        name="readers_not_asked",
        breaks="likewise, where a second operand is a layer",
        file="runtime/program/program.py",
        old=("        for operand in operands:\n            operand.check_reader(claim)\n"),
        new=("        for operand in operands[:1]:\n            operand.check_reader(claim)\n"),
        tests=("tests/runtime/test_refused_programs.py::test_what_is_wrong_together_is_refused",),
    ),
    Mutant(
        name="lattice_not_checked",
        breaks="a Program with parameters below 128 bits runs",
        file="runtime/program/steps/linear.py",
        old="            check_parameters(plan.degree, plan.primes)",
        new="            pass",
        tests=("tests/runtime/test_refusals.py::test_no_more_is_let_through",),
    ),
    Mutant(
        name="answers_narrower_than_results",
        breaks="high bits of sums are not sent",
        file="runtime/program/steps/linear.py",
        old="            self.bits <= plan.answer_bits < modulus_bits + 1,",
        new="            plan.answer_bits < modulus_bits + 1,",
        tests=(
            "tests/runtime/test_refused_programs.py::test_limits_are_these",
            "tests/runtime/test_refusals.py::test_no_more_is_let_through",
        ),
    ),
    Mutant(
        name="answers_wider_than_the_modulus",
        breaks="the mask's top bits are missing",
        file="runtime/program/steps/linear.py",
        old="            self.bits <= plan.answer_bits < modulus_bits + 1,",
        new="            self.bits <= plan.answer_bits,",
        tests=(
            "tests/runtime/test_refused_programs.py::test_limits_are_these",
            "tests/runtime/test_refusals.py::test_no_more_is_let_through",
        ),
    ),
    Mutant(
        name="stochastic_truncation_in_an_exact_program",
        breaks="a share-dependent rounding bit, which leaks weights",
        file="runtime/program/steps/rounding.py",
        old='        if claim.rounding == "exact":',
        new="        if False:",
        tests=("tests/runtime/test_refused_programs.py::test_what_is_wrong_together_is_refused",),
    ),
    Mutant(
        name="guard_bits_without_exact_rounding",
        breaks="what a stochastic layer promises no longer holds",
        file="runtime/program/steps/linear.py",
        old="            claim.require(self.guard <= 0,",
        new="            claim.require(self.guard <= 8,",
        tests=(
            "tests/runtime/test_refusals.py::test_no_more_is_let_through",
            "tests/runtime/test_refusals.py::test_every_reason_to_refuse_a_step_is_met",
        ),
    ),
    Mutant(
        name="joint_with_a_stochastic_truncation",
        breaks="gates of another value than the truncation's",
        file="runtime/program/steps/gates.py",
        old='                and x.rounding == "exact"\n',
        new="",
        tests=("tests/runtime/test_refused_programs.py::test_what_is_wrong_together_is_refused",),
    ),
    Mutant(
        name="joint_from_afar",
        breaks="gates of another value than the truncation's",
        file="runtime/program/steps/gates.py",
        old="                and self.inputs == (claim.index - 1,)",
        new="                and True",
        tests=("tests/runtime/test_refused_programs.py::test_what_is_wrong_together_is_refused",),
    ),
    Mutant(
        name="squares_in_narrow_rings",
        breaks="a square that wraps",
        file="runtime/program/steps/products.py",
        old="            self.bits >= bits + 2,",
        new="            self.bits >= bits + 1,",
        tests=("tests/runtime/test_refused_programs.py::test_limits_are_these",),
    ),
    Mutant(
        name="counts_wrap",
        breaks="a count that its ring does not hold",
        file="runtime/program/steps/decisions.py",
        old="x.shape[0] < 1 << (self.bits - 1)",
        new="x.shape[0] <= 1 << (self.bits - 1)",
        tests=("tests/runtime/test_refused_programs.py::test_limits_are_these",),
    ),
    Mutant(
        name="pads_reach_the_kernel",
        breaks="windows of padding alone",
        file="runtime/program/steps/pooling.py",
        old="max(left, right) < kw",
        new="max(left, right) <= kw",
        tests=("tests/runtime/test_refusals.py::test_no_more_is_let_through",),
    ),
    Mutant(
        name="sums_beyond_int64",
        breaks="the executor's true integers wrap",
        file="runtime/program/steps/local.py",
        old="self.bits + total.bit_length() <= MAX_SUM_BITS",
        new="self.bits <= MAX_SUM_BITS",
        tests=("tests/runtime/test_refused_programs.py::test_limits_are_these",),
    ),
    Mutant(
        name="a_decision_of_many_thresholds",
        breaks="a decision that is a probability",
        file="runtime/program/revealed.py",
        old="policy.decides and end.choices != 1",
        new="policy.decides and end.choices < 1",
        tests=("tests/runtime/test_refused_programs.py::test_unsound_as_a_whole_is_refused",),
    ),
    Mutant(
        name="two_outputs_of_a_cohort",
        breaks="scores are revealed beside an aggregate",
        file="runtime/program/revealed.py",
        old="    if len(ends) != 1:",
        new="    if len(ends) > 2:",
        tests=("tests/runtime/test_refused_programs.py::test_unsound_as_a_whole_is_refused",),
    ),
    Mutant(
        name="policy_not_checked",
        breaks="scores under any policy",
        file="runtime/program/program.py",
        old="        self._check_policy()\n",
        new="",
        tests=("tests/runtime/test_refused_programs.py::test_unsound_as_a_whole_is_refused",),
    ),
    Mutant(
        name="a_quorum_of_one",
        breaks="an aggregate of one positive image, which is its score's rank",
        file="runtime/program/policy.py",
        old="            if number < 2:",
        new="            if number < 1:",
        tests=("tests/runtime/test_refused_programs.py::test_unsound_as_a_whole_is_refused",),
    ),
    Mutant(
        name="cohorts_below_the_quorum",
        breaks="cohorts that no aggregate can be told of",
        file="runtime/program/policy.py",
        old="if not self.positives + self.negatives <= self.images <= MAX_COHORT",
        new="if not self.positives <= self.images <= MAX_COHORT",
        tests=("tests/runtime/test_refused_programs.py::test_limits_are_these",),
    ),
    Mutant(
        name="words_that_move_the_cursor",
        breaks="a name that rewrites the hospital's terminal",
        file="runtime/program/program.py",
        old=" or not all(c.isprintable() for c in text)",
        new="",
        tests=("tests/runtime/test_refused_programs.py::test_unsound_as_a_whole_is_refused",),
    ),
    Mutant(
        name="overflow_below_not_counted",
        breaks="likewise, of negative values",
        file="runtime/program/steps/evaluation.py",
        old="        self.overflows += int(np.count_nonzero((x < -half) | (x >= half)))",
        new="        self.overflows += int(np.count_nonzero(x >= half))",
        tests=(
            "tests/runtime/test_cleartext.py::test_add_sum_pool_and_reduce_count",
            "tests/runtime/test_cleartext.py::test_affine_relu_wraps_like_the_ring_and_counts",
        ),
    ),
    Mutant(
        name="relu_in_place",
        breaks="an executor whose ReLU changes its operand",
        file="runtime/program/steps/gates.py",
        old="return np.maximum(shifted, 0, out=shifted)",
        new="return np.maximum(shifted, 0, out=x)",
        tests=("tests/runtime/test_values_stay.py::test_no_meaning_writes_to_its_operands",),
    ),
    Mutant(
        name="sums_of_shares_in_place",
        breaks="a party whose sum changes its first operand",
        file="runtime/program/steps/local.py",
        old=(
            "        total = np.zeros_like(operands[0])\n"
            "        for sign, x in zip(self.signs, operands, strict=True):\n"
            "            total = total + x if sign > 0 else total - x"
        ),
        new=(
            "        total = operands[0]\n"
            "        for sign, x in zip(self.signs[1:], operands[1:], strict=True):\n"
            "            total += np.uint64(sign % (1 << 64)) * x"
        ),
        tests=("tests/runtime/test_values_stay.py::test_no_party_writes_to_a_share",),
    ),
    Mutant(
        name="inputs_are_truncated",
        breaks="half a last place of every pixel",
        file="runtime/program/steps/ends.py",
        old="np.rint(tensor / self.scale)",
        new="np.trunc(tensor / self.scale)",
        tests=("tests/runtime/test_program.py::TestValues::test_quantise_rounds_and_clips",),
    ),
)
