"""Linear layers: the security table, bounds on noise, what is refused."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

RLWE = "protocols/linear/rlwe.py"
SERVER = "protocols/linear/server.py"
CLIENT = "protocols/linear/client.py"
PARAMETERS = "protocols/linear/parameters.py"
PLACEMENT = "protocols/linear/placement.py"
RESIDUES = "protocols/linear/residues.py"
SPEC = "protocols/linear/spec.py"
LAYOUT = "protocols/linear/layout.py"
PRODUCT = "protocols/linear/product.py"
REFUSALS = "tests/protocols/test_linear_refusals.py::"
ENCRYPTION = "tests/protocols/test_rlwe.py::"
GUARD_BITS = "tests/protocols/test_guard_bits.py::"
LAYERS = "tests/protocols/test_linear.py::"

MUTANTS = (
    Mutant(
        name="ring_unchecked",
        breaks="a ring outside the security table",
        file=RLWE,
        old=("        check_parameters(degree, primes)\n"),
        new="",
        tests=(REFUSALS + "test_rings_outside_the_table_are_refused",),
    ),
    Mutant(
        name="table_2048",
        breaks="a modulus that is too large for 128 bits",
        file=PARAMETERS,
        old="2048: 53",
        new="2048: 54",
        tests=(ENCRYPTION + "test_security_table_is_enforced",),
    ),
    Mutant(
        name="table_extra",
        breaks="a degree that is too small for 128 bits",
        file=PARAMETERS,
        old="{2048: 53,",
        new="{1024: 26, 2048: 53,",
        tests=(REFUSALS + "test_rings_outside_the_table_are_refused",),
    ),
    Mutant(
        name="q_check_none",
        breaks="any modulus",
        file=PARAMETERS,
        old="if math.prod(primes) >= 1 << MAX_LOG2_Q[degree]:",
        new="if not primes:",
        tests=(ENCRYPTION + "test_security_table_is_enforced",),
    ),
    Mutant(
        name="prime_distinct",
        breaks="a prime twice: no CRT",
        file=PARAMETERS,
        old="if not primes or len(set(primes)) != len(primes):",
        new="if not primes:",
        tests=(REFUSALS + "test_primes_outside_the_kernels_range_are_refused",),
    ),
    Mutant(
        name="prime_ntt_degree",
        breaks="a prime without the root of unity",
        file=PARAMETERS,
        old="or p % (2 * degree) != 1",
        new="or p % degree != 1",
        tests=(REFUSALS + "test_primes_outside_the_kernels_range_are_refused",),
    ),
    Mutant(
        name="prime_large",
        breaks="a prime beyond the exact products",
        file=PARAMETERS,
        old="not 1 << (PRIME_BITS[0] - 1) < p < 1 << PRIME_BITS[-1]",
        new="not 1 << (PRIME_BITS[0] - 1) < p",
        tests=(REFUSALS + "test_primes_outside_the_kernels_range_are_refused",),
    ),
    Mutant(
        name="failure_bits_16",
        breaks="results wrong with probability 2^-16",
        file=PARAMETERS,
        old="FAILURE_BITS = 64",
        new="FAILURE_BITS = 16",
        tests=(REFUSALS + "test_the_constants_are_those_of_the_documents",),
    ),
    Mutant(
        name="tail_no_two",
        breaks="a tail bound of one side alone",
        file=PARAMETERS,
        old="(FAILURE_BITS + 1 + math.log2(max(coefficients, 1)))",
        new="(FAILURE_BITS + math.log2(max(coefficients, 1)))",
        tests=(REFUSALS + "test_planned_layers_decrypt_and_a_bit_less_would_not",),
    ),
    Mutant(
        name="tail_no_union",
        breaks="a bound for one output, not for the layer",
        file=PARAMETERS,
        old="(FAILURE_BITS + 1 + math.log2(max(coefficients, 1)))",
        new="(FAILURE_BITS + 1)",
        tests=(REFUSALS + "test_planned_layers_decrypt_and_a_bit_less_would_not",),
    ),
    Mutant(
        name="noise_fresh_degree",
        breaks="half of what an encryption of zero adds",
        file=PARAMETERS,
        old="fresh = (2 * degree + 1) * ERROR_VARIANCE",
        new="fresh = (degree + 1) * ERROR_VARIANCE",
        tests=(REFUSALS + "test_planned_layers_decrypt_and_a_bit_less_would_not",),
    ),
    Mutant(
        name="noise_one_rounding",
        breaks="one party's rounding left out of the bound",
        file=PARAMETERS,
        old="2 * ROUNDING_VARIANCE",
        new="ROUNDING_VARIANCE",
        tests=(REFUSALS + "test_planned_layers_decrypt_and_a_bit_less_would_not",),
    ),
    Mutant(
        name="noise_blocks",
        breaks="the other blocks of an answer left out of the bound",
        file=PARAMETERS,
        old="square * (blocks * ERROR_VARIANCE",
        new="square * (ERROR_VARIANCE",
        tests=(REFUSALS + "test_planned_layers_decrypt_and_a_bit_less_would_not",),
    ),
    Mutant(
        name="noise_weight_typical",
        breaks="noise of typical weights, not the worst",
        file=PARAMETERS,
        old="4.0 ** (weight_bits - 1)",
        new="4.0 ** (weight_bits - 1) / 3",
        tests=(REFUSALS + "test_planned_layers_decrypt_and_a_bit_less_would_not",),
    ),
    Mutant(
        name="rounding_a_ignored",
        breaks="the a part's rounding left out of the bound",
        file=PARAMETERS,
        old="rounding = self.degree * UNIFORM_VARIANCE * 4.0**-answer_bits",
        new="rounding = 0 * UNIFORM_VARIANCE * 4.0**-answer_bits",
        tests=(REFUSALS + "test_planned_layers_decrypt_and_a_bit_less_would_not",),
    ),
    Mutant(
        name="torus_loss",
        breaks="to_torus's loss left out of the bound",
        file=PARAMETERS,
        old="loss = (self.degree + 1) * TORUS_LOSS",
        new="loss = 0.0",
        tests=(REFUSALS + "test_planned_layers_decrypt_and_a_bit_less_would_not",),
    ),
    Mutant(
        name="budget_half",
        breaks="half a step of the budget counted twice: guard bits too few",
        file=PARAMETERS,
        old="return 2.0 ** (guard - 1) - 0.5 if guard else 1.0",
        new="return 2.0 ** (guard - 1) if guard else 1.0",
        tests=(REFUSALS + "test_a_spec_is_accepted_exactly_while_it_decrypts",),
    ),
    Mutant(
        name="budget_guard0",
        breaks="two steps where one is allowed",
        file=PARAMETERS,
        old="return 2.0 ** (guard - 1) - 0.5 if guard else 1.0",
        new="return 2.0 ** (guard - 1) - 0.5 if guard else 2.0",
        tests=(REFUSALS + "test_a_spec_is_accepted_exactly_while_it_decrypts",),
    ),
    Mutant(
        name="check_spec_nothing",
        breaks="any plan of the peer's",
        file=SPEC,
        old=("    plan = spec.rlwe\n    what ="),
        new=("    return\n    plan = spec.rlwe\n    what ="),
        tests=(REFUSALS + "test_a_spec_is_accepted_exactly_while_it_decrypts",),
    ),
    Mutant(
        name="check_spec_noise_one_image",
        breaks="a plan for weights of one bit less",
        file=SPEC,
        old="spec.layout.noise(spec.weight_bits))",
        new="spec.layout.noise(spec.weight_bits - 1))",
        tests=(REFUSALS + "test_a_spec_is_accepted_exactly_while_it_decrypts",),
    ),
    Mutant(
        name="check_spec_answer_low",
        breaks="answers of one bit too few",
        file=SPEC,
        old="if not need <= plan.answer_bits <= MAX_ANSWER_BITS:",
        new="if not need - 1 <= plan.answer_bits <= MAX_ANSWER_BITS:",
        tests=(REFUSALS + "test_planned_layers_decrypt_and_a_bit_less_would_not",),
    ),
    Mutant(
        name="check_spec_guard_low1",
        breaks="a ring of one bit",
        file=SPEC,
        old="if not 2 - spec.bits <= spec.guard <= MAX_GUARD:",
        new="if not 1 - spec.bits <= spec.guard <= MAX_GUARD:",
        tests=(REFUSALS + "test_widths_outside_their_range_are_refused",),
    ),
    Mutant(
        name="check_spec_weight_bits",
        breaks="weights beyond the exact products",
        file=SPEC,
        old="if not 1 <= spec.weight_bits <= MAX_WEIGHT_BITS:",
        new="if spec.weight_bits < 1:",
        tests=(REFUSALS + "test_widths_outside_their_range_are_refused",),
    ),
    Mutant(
        name="spec_unchecked_server",
        breaks="a vendor's layer that does not decrypt",
        file=SERVER,
        old=("        check_spec(spec)\n"),
        new="",
        tests=(REFUSALS + "test_a_layer_of_a_plan_that_does_not_decrypt_is_not_made",),
    ),
    Mutant(
        name="weight_bound_positive",
        breaks="negative weights beyond what the noise bound allows",
        file=PLACEMENT,
        old="int(np.abs(weight.astype(np.int64)).max())",
        new="int(weight.max())",
        tests=(REFUSALS + "test_weights_and_biases_of_other_sizes_are_refused",),
    ),
    Mutant(
        name="weight_bound_double",
        breaks="weights of twice the size that the noise bound allows",
        file=PLACEMENT,
        old="> 1 << (spec.weight_bits - 1)",
        new="> 1 << spec.weight_bits",
        tests=(REFUSALS + "test_weights_and_biases_of_other_sizes_are_refused",),
    ),
    Mutant(
        name="weight_shape",
        breaks="weights of another shape and the same size",
        file=PLACEMENT,
        old="    if weight.shape != expected:",
        new="    if weight.size != int(np.prod(expected)):",
        tests=(REFUSALS + "test_weights_and_biases_of_other_sizes_are_refused",),
    ),
    Mutant(
        name="bias_shape",
        breaks="a bias that is broadcast",
        file=PLACEMENT,
        old=("    if bias.shape not in ((filters,), (filters, 1, 1), geometry.out_shape):"),
        new="    if bias.shape[0] != filters:",
        tests=(REFUSALS + "test_weights_and_biases_of_other_sizes_are_refused",),
    ),
    Mutant(
        name="hint_range",
        breaks="a hint with a residue that is none",
        file=SERVER,
        old=(
            "        if any(int(hint[:, i].max()) >= p for i, p in "
            "enumerate(self.spec.rlwe.primes)):"
        ),
        new=(
            "        if any(int(hint[:, i].max()) > p for i, p in "
            "enumerate(self.spec.rlwe.primes)):"
        ),
        tests=(REFUSALS + "test_hints_of_another_layer_are_refused",),
    ),
    Mutant(
        name="hint_range_first",
        breaks="the same, modulo a smaller prime",
        file=SERVER,
        old=(
            "        if any(int(hint[:, i].max()) >= p for i, p in "
            "enumerate(self.spec.rlwe.primes)):"
        ),
        new="        if int(hint.max()) >= max(self.spec.rlwe.primes):",
        tests=(REFUSALS + "test_hints_of_another_layer_are_refused",),
    ),
    Mutant(
        name="hint_shape",
        breaks="a hint of another layout",
        file=SERVER,
        old="if hint.shape != self.hint_shape or hint.dtype != np.uint32:",
        new="if hint.size != int(np.prod(self.hint_shape)):",
        tests=(REFUSALS + "test_hints_of_another_layer_are_refused",),
    ),
    Mutant(
        name="residue_p",
        breaks="a client's residue that equals its prime",
        file=RESIDUES,
        old="    if count and int(rows.max()) >= p:",
        new="    if count and int(rows.max()) > p:",
        tests=(REFUSALS + "test_residues_that_are_none_are_refused",),
    ),
    Mutant(
        name="residue_first_row",
        breaks="all ciphertexts but the first unchecked",
        file=RESIDUES,
        old="int(rows.max()) >= p",
        new="int(rows[:length].max()) >= p",
        tests=(REFUSALS + "test_residues_that_are_none_are_refused",),
    ),
    Mutant(
        name="layout_fit",
        breaks="filters beyond the polynomial",
        file=LAYOUT,
        old="if self.mp * self.block > self.degree:",
        new="if self.block > self.degree:",
        tests=(REFUSALS + "test_packings_that_do_not_fit_are_refused",),
    ),
    Mutant(
        name="to_plane_count",
        breaks="shares of another number of images",
        file=PLACEMENT,
        old=("        or x.size != count * math.prod(geometry.in_shape)\n"),
        new="",
        tests=(REFUSALS + "test_shares_of_another_shape_are_refused",),
    ),
    Mutant(
        name="rounded_phase_no_half",
        breaks="results below the guard bits",
        file=CLIENT,
        old="(phase + half) >>",
        new="phase >>",
        tests=(GUARD_BITS + "test_every_noise_within_the_budget_ends_in_the_guard_bits",),
    ),
    Mutant(
        name="rounded_phase_half_of_bits",
        breaks="low bits that are left behind are rounded with a bias",
        file=CLIENT,
        old="min(spec.bits, spec.result_bits)",
        new="spec.bits",
        tests=(GUARD_BITS + "test_what_is_left_behind_is_rounded_without_bias",),
    ),
    Mutant(
        name="mask_not_sent",
        breaks="masks added instead of subtracted",
        file=SERVER,
        old="kernels.pack(ring.reduce(rounded - masks[at], bits), bits)",
        new="kernels.pack(ring.reduce(rounded + masks[at], bits), bits)",
        tests=(LAYERS + "test_two_parties_convolve",),
    ),
    Mutant(
        name="phase_primes_no_centre",
        breaks="phases that wrap around the primes",
        file=RLWE,
        old="(bits - 1 + math.log2(degree) + 2)",
        new="(bits - 1)",
        tests=(REFUSALS + "test_the_largest_phase_is_exact",),
    ),
    Mutant(
        name="sums_capacity",
        breaks="sums beyond 2^53",
        file=PRODUCT,
        old="(1 << FLOAT_BITS) // (prime << (weight_bits - 1))",
        new="(1 << FLOAT_BITS + 4) // (prime << (weight_bits - 1))",
        tests=(LAYERS + "test_correlate_stays_exact_when_sums_outgrow_float64",),
    ),
)
