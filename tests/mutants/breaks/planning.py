"""The compiler and the meaning of its Programs: what is rounded, disclosed, compared, committed to
and counted.
"""

from __future__ import annotations

from tests.mutants.mutant import Mutant

MUTANTS = (
    Mutant(
        name="noise_not_simulated",
        breaks="a measured error that is too low",
        file="runtime/program/steps/linear.py",
        old="        return total + rng.integers(-1, 2, total.shape, np.int8)",
        new="        return total",
        tests=(
            "tests/runtime/test_simulated_noise.py::"
            "test_a_layer_with_all_its_bits_misses_by_one_at_most",
        ),
    ),
    Mutant(
        name="noise_of_left_bits_not_simulated",
        breaks="a measured error that is too low",
        file="runtime/program/steps/linear.py",
        old="    noise = rng.normal(0.0, math.sqrt(1 + 2 / 12), total.shape)",
        new="    noise = 0.0",
        tests=(
            "tests/runtime/test_simulated_noise.py::"
            "test_a_layer_that_leaves_bits_behind_has_the_noise_of_a_step_and_both_roundings",
        ),
    ),
    Mutant(
        name="overflow_without_the_bias",
        breaks="values that leave their ring are not counted",
        file="runtime/program/steps/linear.py",
        old="            outside = np.abs(approximate + bias) >= 2.0 ** (bits - 1)",
        new="            outside = np.abs(approximate) >= 2.0 ** (bits - 1)",
        tests=(
            "tests/runtime/test_simulated_noise.py::"
            "test_sums_that_float64_cannot_hold_are_counted_with_their_bias",
        ),
    ),
    Mutant(
        name="headroom_of_argmax_not_counted",
        breaks="a wrong place is told, and nobody warns",
        file="runtime/program/steps/decisions.py",
        old="        at.count_headroom(x, at.operand_bits)",
        new="        pass",
        tests=(
            "tests/runtime/test_simulated_noise.py::"
            "test_what_has_no_headroom_is_counted_by_argmax_and_pools",
        ),
    ),
    Mutant(
        name="headroom_of_pools_not_counted",
        breaks="a wrong maximum, and nobody warns",
        file="runtime/program/steps/pooling.py",
        old="        at.count_headroom(x, self.bits)",
        new="        pass",
        tests=(
            "tests/runtime/test_simulated_noise.py::"
            "test_what_has_no_headroom_is_counted_by_argmax_and_pools",
        ),
    ),
    Mutant(
        name="headroom_of_products_not_counted",
        breaks="a wrong product, and nobody warns",
        file="runtime/program/steps/products.py",
        old="        at.count_headroom(y, at.rings[1])",
        new="        pass",
        tests=(
            "tests/runtime/test_simulated_noise.py::"
            "test_what_has_no_headroom_is_counted_by_argmax_and_pools",
        ),
    ),
    Mutant(
        name="biases_are_truncated",
        breaks="every answer is low by half a last place of its layer",
        file="compiler/planning/quantise.py",
        old="    scaled = np.rint(bias /",
        new="    scaled = np.floor(bias /",
        tests=("tests/compiler/test_nearest.py::test_weights_and_biases",),
    ),
    Mutant(
        name="weights_are_truncated",
        breaks="half the precision that the plan states",
        file="compiler/planning/quantise.py",
        old="    weight = np.rint(ideal * 2.0**shift)",
        new="    weight = np.trunc(ideal * 2.0**shift)",
        tests=("tests/compiler/test_nearest.py::test_weights_and_biases",),
    ),
    Mutant(
        name="thresholds_are_truncated",
        breaks="gates that open late",
        file="compiler/planning/quantise.py",
        old="            wanted = np.rint(threshold / unit)",
        new="            wanted = np.trunc(threshold / unit)",
        tests=("tests/compiler/test_nearest.py::test_thresholds_and_constants",),
    ),
    Mutant(
        name="constants_are_truncated",
        breaks="a mean error of half a last place",
        file="compiler/planning/quantise.py",
        old="    return np.rint(node.consts",
        new="    return np.floor(node.consts",
        tests=("tests/compiler/test_nearest.py::test_thresholds_and_constants",),
    ),
    Mutant(
        name="exact_truncation_without_its_half",
        breaks="results are low by half a last place",
        file="compiler/planning/quantise.py",
        old="    half = 1 << (shift - 1) if",
        new="    half = 0 if",
        tests=("tests/compiler/test_nearest.py::test_weights_and_biases",),
    ),
    Mutant(
        name="disclosed_names_the_largest_weight",
        breaks="a weight, in a sentence that nobody compares",
        file="compiler/lowering/disclosure.py",
        old=("    if usual:\n        shifts"),
        new=(
            "    if usual:\n"
            "        largest = max(abs(int(w)) for layer in plan.layers.values() for w "
            "in layer.weight.flat)\n"
            '        yield f"largest weight {largest}"\n'
            "        shifts"
        ),
        tests=(
            "tests/compiler/test_nearest.py::test_weights_within_a_power_of_two_make_one_program",
        ),
    ),
    Mutant(
        name="imports_are_not_compared",
        breaks="an import that computes another function",
        file="compiler/onnx_import/agreement.py",
        old="        _Comparison(model, graph, traced, approximate).run(feeds)",
        new="        _Comparison(model, graph, {}, approximate).run(feeds)",
        tests=(
            "tests/compiler/test_agreement.py::test_what_float32_cannot_say_is_no_difference",
            "tests/compiler/test_agreement.py::test_a_fixed_batch_is_compared_as_written",
        ),
    ),
    Mutant(
        name="the_clients_part_is_not_compared",
        breaks="likewise, behind the last secret layer",
        file="compiler/onnx_import/agreement.py",
        old=(
            "        self._run_expression([known[value] for value in self.graph.outputs], theirs)"
        ),
        new="        pass",
        tests=(
            "tests/compiler/test_agreement.py::"
            "test_what_rounding_moves_across_a_step_is_no_difference",
        ),
    ),
    Mutant(
        name="clipped_inputs_not_counted",
        breaks="a picture out of range, and nobody warns",
        file="runtime/program/cleartext.py",
        old=(
            "            self._count(index, "
            "int(np.count_nonzero(step.clipped(tensors[step.name]))))"
        ),
        new="            pass",
        tests=("tests/runtime/test_cleartext.py::test_clipped_inputs_are_counted",),
    ),
    Mutant(
        name="overflows_of_the_last_image_alone",
        breaks="warnings of earlier images are lost",
        file="runtime/program/cleartext.py",
        old="            self.overflows[index] = self.overflows.get(index, 0) + values",
        new="            self.overflows[index] = values",
        tests=("tests/runtime/test_simulated_noise.py::test_overflows_of_all_images_add_up",),
    ),
    Mutant(
        name="commitment_without_salt",
        breaks="the hospital tests guesses of the weights",
        file="runtime/program/weights.py",
        old='b"moiety weights" + weights.salt + state.digest()',
        new='b"moiety weights" + state.digest()',
        tests=(
            "tests/runtime/test_program.py::"
            "TestWeights::test_a_commitment_is_of_every_number_and_its_salt",
        ),
    ),
    Mutant(
        name="salt_is_known",
        breaks="the hospital tests guesses of the weights",
        file="runtime/program/weights.py",
        old="secrets.token_bytes(SALT_BYTES)",
        new="bytes(SALT_BYTES)",
        tests=(
            "tests/runtime/test_program.py::"
            "TestWeights::test_a_commitment_is_of_every_number_and_its_salt",
        ),
    ),
    Mutant(
        name="commitment_of_first_rows",
        breaks="weights are altered behind the commitment",
        file="runtime/program/weights.py",
        old="        state.update(np.ascontiguousarray(array).tobytes())",
        new="        state.update(np.ascontiguousarray(array[:1]).tobytes())",
        tests=(
            "tests/runtime/test_program.py::"
            "TestWeights::test_a_commitment_is_of_every_number_and_its_salt",
        ),
    ),
    Mutant(
        name="commitment_without_shapes",
        breaks="likewise, by another shape",
        file="runtime/program/weights.py",
        old="{array.dtype.str} {array.shape}",
        new="",
        tests=(
            "tests/runtime/test_program.py::"
            "TestWeights::test_a_commitment_is_of_every_number_and_its_salt",
        ),
    ),
    Mutant(
        name="commitment_not_checked",
        breaks="a vendor serves other weights by mistake",
        file="runtime/program/weights.py",
        old="            _check_commitment(program, weights)\n",
        new="",
        tests=(
            "tests/runtime/test_program.py::"
            "TestWeights::test_other_weights_than_committed_to_are_not_read",
        ),
    ),
    Mutant(
        name="weights_anybody_may_read",
        breaks="the model, to every user of the machine",
        file="runtime/program/weights.py",
        old="), OWNER_ALONE)",
        new="))",
        tests=("tests/runtime/test_program.py::TestWeights::test_round_trip",),
    ),
)
