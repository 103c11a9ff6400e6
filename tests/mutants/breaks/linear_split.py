"""Linear layers offline and online: masks, what serves once, the plain convolution."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

SPLIT = "protocols/linear/split.py"
SERVER = "protocols/linear/server.py"
CONVOLUTION = "protocols/linear/convolution.py"
TESTS = "tests/protocols/test_linear_split.py::"
SUMS = "tests/protocols/test_convolution.py::"

MUTANTS = (
    Mutant(
        name="split_without_mask",
        breaks="the client's share, online",
        file=SPLIT,
        old="ring.reduce(values[at] - masks[at], spec.bits)",
        new="ring.reduce(values[at], spec.bits)",
        tests=(TESTS + "test_the_online_message_is_uniform",),
    ),
    Mutant(
        name="split_mask_a_bit_less",
        breaks="the top bit of the client's share",
        file=SPLIT,
        old='_stream(seed, "client", layer).uint64(int(np.prod(shape)), spec.bits)',
        new='_stream(seed, "client", layer).uint64(int(np.prod(shape)), spec.bits - 1)',
        tests=(TESTS + "test_the_online_message_is_uniform",),
    ),
    Mutant(
        name="split_masks_of_all_layers",
        breaks="differences of shares of two layers",
        file=SPLIT,
        old='f"moiety split/{party}/{layer}"',
        new='f"moiety split/{party}"',
        tests=(TESTS + "test_the_online_message_is_uniform",),
    ),
    Mutant(
        name="split_masks_of_both_parties",
        breaks="masks of inputs that are masks of outputs, under one seed",
        file=SPLIT,
        old='f"moiety split/{party}/{layer}"',
        new='f"moiety split/{layer}"',
        tests=(TESTS + "test_the_online_message_is_uniform",),
    ),
    Mutant(
        name="split_masks_of_all_seeds",
        breaks="every share: a seed that nobody draws",
        file=SPLIT,
        old="Prg.derived(seed, ",
        new="Prg.derived(bytes(len(seed)), ",
        tests=(TESTS + "test_the_online_message_is_uniform",),
    ),
    Mutant(
        name="split_serves_twice",
        breaks="differences of the shares of two images",
        file=SPLIT,
        old="        self.left.remove(layer)\n",
        new="",
        tests=(TESTS + "test_material_serves_once",),
    ),
    Mutant(
        name="split_claims_nothing",
        breaks="material of a layer that was not prepared",
        file=SPLIT,
        old="        if layer not in self.left:\n",
        new="        if layer < 0:\n",
        tests=(TESTS + "test_material_serves_once",),
    ),
    Mutant(
        name="split_server_share_left_out",
        breaks="the server's part of the value",
        file=SPLIT,
        old="np.add(values[at], correction, out=known[at])",
        new="known[at] = correction",
        tests=(TESTS + "test_both_parts_are_the_layer",),
    ),
    Mutant(
        name="split_masks_of_the_session",
        breaks="shares that do not belong together",
        file=SPLIT,
        old='self.layers[layer], request, _stream(self.seed, "server", layer))',
        new="self.layers[layer], request, session.prg)",
        tests=(TESTS + "test_both_parts_are_the_layer",),
    ),
    Mutant(
        name="split_known_rounded_down",
        breaks="results that are too small on average, where low bits are left behind",
        file=SERVER,
        old="known = self._bias if guard >= 0 else self._dithered(self._bias, share, prg)",
        new="known = self._bias",
        tests=(TESTS + "test_what_is_left_behind_is_rounded_without_bias",),
    ),
    Mutant(
        name="convolution_time_of_weights",
        breaks="how large the weights are, by the time that the server takes",
        file=SERVER,
        old="self.spec.geometry, heaviest(self.spec)\n",
        new="self.spec.geometry, None\n",
        tests=(SUMS + "test_all_weights_of_a_width_take_as_long",),
    ),
    Mutant(
        name="words_of_weights_too_wide",
        breaks="the largest weight, which becomes its negative as half a word",
        file=CONVOLUTION,
        old="bits <= WORD_BITS and weight_bits < HALF_BITS",
        new="bits <= WORD_BITS and weight_bits <= HALF_BITS",
        tests=(SUMS + "test_a_layer_in_words_gives_the_bits_of_an_exact_one",),
    ),
    Mutant(
        name="limbs_a_bit_too_wide",
        breaks="sums beyond what a float64 holds exactly",
        file=CONVOLUTION,
        old="    bits = FLOAT_BITS - heaviest.bit_length()",
        new="    bits = FLOAT_BITS + 1 - heaviest.bit_length()",
        tests=(SUMS + "test_limbs_are_exact_and_no_more_than_needed",),
    ),
    Mutant(
        name="rows_that_meet",
        breaks="results next to wide pads",
        file=CONVOLUTION,
        old="return max(in_width + max(left, right), out_width)",
        new="return in_width + max(left, right)",
        tests=(SUMS + "test_outputs_may_be_wider_than_padded_rows",),
    ),
)
