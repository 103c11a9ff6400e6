"""Prepared runs whose client's shares are masks: early choices, products, masks."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

FIXING = "protocols/compare/fixing.py"
MASKED = "protocols/compare/masked.py"
MAKING = "protocols/ot/making.py"
PREPARED = "protocols/ot/prepared.py"
MASKS = "runtime/party/masks.py"
HANDLERS = "runtime/party/masked.py"
CASES = "tests/protocols/test_protocols.py::test_protocol_computes_and_sends_what_it_says"
TESTS = "tests/protocols/test_masked.py::"
RUNS = "tests/runtime/test_masked_runs.py::"

MUTANTS = (
    Mutant(
        name="masked_early_choices_are_not_hidden",
        breaks="the client's digits, beforehand",
        file=MAKING,
        old="channel.send(kernels.pack(mine ^ u, piece.k))",
        new="channel.send(kernels.pack(mine, piece.k))",
        tests=(f"{CASES}[masked gates 13, 8 thresholds]",),
    ),
    Mutant(
        name="masked_pads_are_not_turned",
        breaks="which pad the client's digit opens",
        file=MAKING,
        old="            w = self._sender.turned(w, kernels.unpack8(shifts, piece.n, piece.k))\n",
        new="",
        tests=(f"{CASES}[masked gates 13, 8 thresholds]",),
    ),
    Mutant(
        name="masked_product_under_one_pad",
        breaks="the client's known number, to a server whose bit is 0",
        file="native/symmetric/masked.hpp",
        old="sent[i] = (sent[i] + pad[2 * i] - pad[2 * i + 1]) & low;",
        new="sent[i] = (sent[i] + pad[2 * i]) & low;",
        tests=(f"{CASES}[masked truncate 41 by 12]",),
    ),
    Mutant(
        name="masked_choices_are_not_compared",
        breaks="a run whose digits are not those that were sent: wrong numbers, silently",
        file=PREPARED,
        old="if not np.array_equal(self._row(choices.size, k), choices):",
        new="if self._row(choices.size, k) is choices:",
        tests=(TESTS + "test_other_choices_than_those_that_were_sent_are_refused",),
    ),
    Mutant(
        name="masked_bit_without_mu",
        breaks="the server's shares of carries, gates and signs",
        file=FIXING,
        old="_send_bits(session, g ^ mu)",
        new="_send_bits(session, g)",
        tests=(f"{CASES}[masked affine relu 16 to 28]",),
    ),
    Mutant(
        name="masked_product_is_never_turned",
        breaks="the server's shares where the client has seen its bit turned",
        file="native/symmetric/masked.hpp",
        old="return (a ^ ones(e)) - ones(e);",
        new="return (a ^ ones(e)) + ones(e);",
        tests=(f"{CASES}[masked truncate 41 by 12]",),
    ),
    Mutant(
        name="masked_share_without_its_mask",
        breaks="the client's shares of all that is truncated, gated and extended",
        file="native/symmetric/masked.hpp",
        old="turned(sum[i], here.e[i]) - taken[i];",
        new="turned(sum[i], here.e[i]) - (taken[i] & 0);",
        tests=(
            f"{CASES}[masked truncate 41 by 12]",
            RUNS + "test_every_message_of_a_run_is_uniform",
        ),
    ),
    Mutant(
        name="masked_flip_is_not_given_back",
        breaks="the extension of negative values behind a flipped gate",
        file=MASKED,
        old="opened.received(session, np.zeros_like(z), 0, flip & top)",
        new="opened.received(session, np.zeros_like(z), 0, flip & flip)",
        tests=(f"{CASES}[masked affine relu 16 to 28 in two steps]",),
    ),
    Mutant(
        name="masked_signed_lift_of_the_mask",
        breaks="the extension where the top bit of the client's mask is set",
        file=MASKED,
        old="ring.reduce((mask >> np.uint64(bits)) + top, wide)",
        new="ring.reduce(mask >> np.uint64(bits), wide)",
        tests=(f"{CASES}[masked affine relu 16 to 28 in two steps]",),
    ),
    Mutant(
        name="masked_shares_before_their_flight",
        breaks="the order in which two lanes take what both parties count",
        file=MASKED,
        old="    _await_fixing(session)\n    if out_bits",
        new="    if out_bits",
        tests=(f"{CASES}[masked relu 7 to 20 in lanes in two steps]",),
    ),
    Mutant(
        name="masked_shares_at_once_before_their_flight",
        breaks="the same where multiplexer and extension are one",
        file=MASKED,
        old="    _await_fixing(session)\n    carries",
        new="    carries",
        tests=(f"{CASES}[masked relu 7 to 20 in lanes]",),
    ),
    Mutant(
        name="a_sign_that_is_not_taken_back",
        breaks="values below zero that are extended at once",
        file=MASKED,
        old="    lifted = ring.reduce(lifted - ((top & flip)",
        new="    lifted = ring.reduce(lifted - ((top & ~flip)",
        tests=(f"{CASES}[masked affine relu 16 to 28]",),
    ),
    Mutant(
        name="masks_of_all_steps",
        breaks="differences of the client's shares of two steps",
        file=MASKS,
        old='f"moiety masks/{self.index}/{what}"',
        new='f"moiety masks/{what}"',
        tests=(RUNS + "test_masks_of_steps_and_seeds_differ",),
    ),
    Mutant(
        name="masks_a_bit_less",
        breaks="the top bit of the client's shares, that of the image among them",
        file=MASKS,
        old="return kernels.unpack(prg.bytes(int(packed(n, bits))), n, bits)",
        new="return kernels.unpack(prg.bytes(int(packed(n, bits))), n, bits) >> np.uint64(1)",
        tests=(
            RUNS + "test_masks_of_steps_and_seeds_differ",
            RUNS + "test_every_message_of_a_run_is_uniform",
        ),
    ),
    Mutant(
        name="masks_of_gates_are_zero",
        breaks="the client's shares of all gates",
        file=HANDLERS,
        old="    return random_bits(turn.masks.inner(), count * n).reshape(count, n)",
        new="    return np.zeros((count, n), np.uint8)",
        tests=(RUNS + "test_the_client_draws_the_masks_of_bits",),
    ),
    Mutant(
        name="masks_of_carries_are_zero",
        breaks="the client's shares of all carries",
        file=HANDLERS,
        old="TruncationMasks(random_bits(turn.masks.inner(), result.size), result)",
        new="TruncationMasks(np.zeros(result.size, np.uint8), result)",
        tests=(RUNS + "test_the_client_draws_the_masks_of_bits",),
    ),
    Mutant(
        name="masked_layers_are_never_corrected",
        breaks="a layer right after another: encrypted before its operand is known",
        file="runtime/program/beforehand.py",
        old="            depends = True\n",
        new="",
        tests=(RUNS + "test_a_layer_right_after_another_is_corrected",),
    ),
    Mutant(
        name="masked_operands_are_not_compared",
        breaks="a layer that was prepared for another operand: wrong numbers, silently",
        file="runtime/party/prepared.py",
        old="is None or np.array_equal(r, x)):",
        new="is None or r.shape == x.shape):",
        tests=(RUNS + "test_a_layer_that_was_prepared_for_another_operand_is_refused",),
    ),
)
