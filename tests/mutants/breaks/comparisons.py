"""Comparisons and what is made of them: shares in their rings, operands left alone."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

MUTANTS = (
    Mutant(
        name="extend_writes_to_its_operand",
        breaks="another reader of the value gets it shifted by half a ring",
        file="protocols/compare/extend.py",
        old=("    y = ring.reduce(x + half, bits) if session.is_server else x\n    carry"),
        new=(
            "    if session.is_server:\n"
            "        x += half\n"
            "        x &= ring.mask(bits)\n"
            "    y = x\n"
            "    carry"
        ),
        tests=(
            "tests/protocols/test_protocols.py::"
            "test_protocol_computes_and_sends_what_it_says[extend 16 to 28]",
        ),
    ),
    Mutant(
        name="extend_with_headroom_writes_to_its_operand",
        breaks="another reader of the value gets it shifted by half a ring",
        file="protocols/compare/extend.py",
        old="        y = ring.reduce(flat + quarter, bits)\n",
        new=("        flat += quarter\n        flat &= ring.mask(bits)\n        y = flat\n"),
        tests=(
            "tests/protocols/test_protocols.py::"
            "test_protocol_computes_and_sends_what_it_says[extend 16 to 28 with headroom]",
        ),
    ),
    Mutant(
        name="truncation_in_place",
        breaks="the layer's result is gone for its other readers",
        file="protocols/compare/truncate.py",
        old="    y = np.empty_like(x)\n",
        new="    y = x\n",
        tests=(
            "tests/protocols/test_protocols.py::"
            "test_protocol_computes_and_sends_what_it_says[truncate_exact 28 by 12]",
        ),
    ),
    Mutant(
        name="stochastic_truncation_in_place",
        breaks="the layer's result is gone for its other readers",
        file="protocols/compare/truncate.py",
        old="    lowered = ring.reduce(x - one, bits_in)",
        new=("    x -= one\n    lowered = ring.reduce(x, bits_in)"),
        tests=(
            "tests/protocols/test_protocols.py::"
            "test_protocol_computes_and_sends_what_it_says[truncate_stochastic]",
        ),
    ),
    Mutant(
        name="multiplexer_in_place",
        breaks="the gated value replaces its operand",
        file="protocols/compare/relu.py",
        old="        z = np.empty_like(y)\n",
        new="        z = y\n",
        tests=(
            "tests/protocols/test_protocols.py::"
            "test_protocol_computes_and_sends_what_it_says[multiplex 13 to 64]",
            "tests/protocols/test_protocols.py::"
            "test_protocol_computes_and_sends_what_it_says[multiplex 64 to 64]",
        ),
    ),
    Mutant(
        name="thresholds_added_in_place",
        breaks="the operand keeps the vendor's thresholds",
        file="protocols/compare/relu.py",
        old="given, y = x.reshape(-1), np.empty(x.size, np.uint64)",
        new="given, y = x.reshape(-1), x.reshape(-1)",
        tests=(
            "tests/protocols/test_protocols.py::"
            "test_protocol_computes_and_sends_what_it_says[affine relu 16 to 28]",
        ),
    ),
    Mutant(
        name="argmax_in_place",
        breaks="the scores are shifted for whoever reads them next",
        file="protocols/compare/argmax.py",
        old="    numbered = ring.reduce(x << np.uint64(low), wide)",
        new=("    x <<= np.uint64(low)\n    numbered = ring.reduce(x, wide)"),
        tests=(
            "tests/protocols/test_protocols.py::"
            "test_protocol_computes_and_sends_what_it_says[argmax of 14]",
        ),
    ),
    Mutant(
        name="product_in_place",
        breaks="the first factor's sign is lost",
        file="protocols/compare/product.py",
        old="    flat, turned = x.reshape(-1), (x * sign[:, None]).reshape(-1)",
        new=("    flat = x.reshape(-1).copy()\n    x *= sign[:, None]\n    turned = x.reshape(-1)"),
        tests=(
            "tests/protocols/test_protocols.py::"
            "test_protocol_computes_and_sends_what_it_says[product 24 by 10 bits]",
        ),
    ),
    Mutant(
        name="reveal_in_place",
        breaks="the client's share becomes the value",
        file="protocols/compare/reveal.py",
        old="    return ring.reduce(x + theirs.reshape(x.shape), bits)",
        new=("    x += theirs.reshape(x.shape)\n    return ring.reduce(x, bits)"),
        tests=(
            "tests/protocols/test_protocols.py::"
            "test_protocol_computes_and_sends_what_it_says[reveal 20]",
        ),
    ),
    Mutant(
        name="truncated_shares_not_reduced",
        breaks="a share beyond its ring, which a later step takes for more",
        file="protocols/compare/truncate.py",
        old="ring.reduce((x[at] >> np.uint64(shift)) + carry[at], bits_in - shift)",
        new="(x[at] >> np.uint64(shift)) + carry[at]",
        tests=(
            "tests/protocols/test_protocols.py::"
            "test_protocol_computes_and_sends_what_it_says[truncate_exact 28 by 12]",
        ),
    ),
    Mutant(
        name="stochastic_shares_not_reduced",
        breaks="a share beyond its ring, which a later step takes for more",
        file="protocols/compare/truncate.py",
        old="    return ring.reduce((lowered >> np.uint64(shift)) + one, bits_in - shift)",
        new="    return (lowered >> np.uint64(shift)) + one",
        tests=(
            "tests/protocols/test_protocols.py::"
            "test_truncate_stochastic_of_shares_of_zero_stays_in_its_ring",
        ),
    ),
    Mutant(
        name="extended_shares_not_reduced",
        breaks="a share beyond its ring, which a later step takes for more",
        file="protocols/compare/extend.py",
        old="    return ring.reduce(lifted - half if session.is_server else lifted, out_bits)",
        new="    return lifted - half if session.is_server else lifted",
        tests=(
            "tests/protocols/test_protocols.py::"
            "test_protocol_computes_and_sends_what_it_says[extend 16 to 28]",
        ),
    ),
    Mutant(
        name="multiplexed_shares_not_reduced",
        breaks="a share beyond its ring, which a later step takes for more",
        file="protocols/compare/relu.py",
        old="session.workers.fill(z, lambda at: ring.reduce(own[at] + theirs[at], bits))",
        new="session.workers.fill(z, lambda at: own[at] + theirs[at])",
        tests=(
            "tests/protocols/test_protocols.py::"
            "test_protocol_computes_and_sends_what_it_says[multiplex 2 to 2]",
            "tests/protocols/test_protocols.py::"
            "test_protocol_computes_and_sends_what_it_says[relu 16 to 16]",
        ),
    ),
    Mutant(
        name="revealed_values_not_reduced",
        breaks="the client reads sums of shares",
        file="protocols/compare/reveal.py",
        old="    return ring.reduce(x + theirs.reshape(x.shape), bits)",
        new="    return x + theirs.reshape(x.shape)",
        tests=(
            "tests/runtime/test_execution.py::"
            "test_exact_run_equals_the_cleartext_executor_bit_for_bit",
            "tests/protocols/test_protocols.py::"
            "test_protocol_computes_and_sends_what_it_says[reveal 20]",
        ),
    ),
    Mutant(
        name="places_not_reduced",
        breaks="the client reads sums of shares",
        file="protocols/compare/argmax.py",
        old="    return ring.reduce(last - largest, low)",
        new="    return last - largest",
        tests=(
            "tests/protocols/test_protocols.py::"
            "test_protocol_computes_and_sends_what_it_says[argmax of 14]",
        ),
    ),
    Mutant(
        name="maxima_not_reduced",
        breaks="the client reads sums of shares",
        file="protocols/compare/maxpool.py",
        old=(
            "        larger = ring.reduce(b + positive(session, ring.reduce(a - "
            "b, bits), bits), bits)"
        ),
        new="        larger = b + positive(session, ring.reduce(a - b, bits), bits)",
        tests=(
            "tests/protocols/test_protocols.py::"
            "test_protocol_computes_and_sends_what_it_says[maxpool 3x3/2]",
        ),
    ),
    Mutant(
        name="products_not_reduced",
        breaks="the client reads sums of shares",
        file="protocols/compare/product.py",
        old=(
            "    return ring.reduce(alone + _crossed(session, choices, rows, "
            "bits).reshape(x.shape), bits)"
        ),
        new="    return alone + _crossed(session, choices, rows, bits).reshape(x.shape)",
        tests=(
            "tests/protocols/test_protocols.py::"
            "test_protocol_computes_and_sends_what_it_says[product 24 by 10 bits]",
        ),
    ),
    Mutant(
        name="stochastic_truncation_without_the_one",
        breaks="a bias of half a last place in every layer",
        file="protocols/compare/truncate.py",
        old="    one = np.uint64(1 if server else 0)",
        new="    one = np.uint64(0)",
        tests=(
            "tests/protocols/test_protocols.py::test_truncate_stochastic_rounds_without_bias",
            "tests/protocols/test_protocols.py::"
            "test_protocol_computes_and_sends_what_it_says[truncate_stochastic]",
        ),
    ),
    Mutant(
        name="revealed_share_is_a_constant",
        breaks="the server sends the value, with a share that everybody knows",
        file="protocols/compare/reveal.py",
        old="        session.channel.send(kernels.pack(x.reshape(-1), bits))",
        new="        session.channel.send(kernels.pack(0 * x.reshape(-1), bits))",
        tests=(
            "tests/protocols/test_views.py::test_messages_are_uniform_for_any_image[exact-zeros]",
            "tests/protocols/test_protocols.py::"
            "test_protocol_computes_and_sends_what_it_says[reveal 20]",
        ),
    ),
    Mutant(
        name="threshold_of_the_next_row",
        breaks="gates of other thresholds",
        file="protocols/compare/relu.py",
        old="    return np.broadcast_to(given, (count, *shape)).reshape(count, -1)",
        new=(
            "    return np.roll(np.broadcast_to(given, (count, *shape)).reshape(count, -1), 1, 0)"
        ),
        tests=(
            "tests/protocols/test_protocols.py::"
            "test_protocol_computes_and_sends_what_it_says[gates 13, 8 thresholds]",
        ),
    ),
    Mutant(
        name="padding_may_be_the_largest",
        breaks="what is padded wins over the least values",
        file="protocols/compare/maxpool.py",
        old="-(1 << (bits - 2)), bits) if session",
        new="-(1 << (bits - 3)), bits) if session",
        tests=(
            "tests/protocols/test_protocols.py::"
            "test_protocol_computes_and_sends_what_it_says[maxpool 3x3/2]",
        ),
    ),
    Mutant(
        name="the_last_of_equal_values",
        breaks="argmax tells another place of equal scores",
        file="protocols/compare/argmax.py",
        old="        behind = np.arange(count - 1, -1, -1, dtype=np.uint64)",
        new="        behind = np.arange(count, dtype=np.uint64)",
        tests=(
            "tests/protocols/test_protocols.py::"
            "test_protocol_computes_and_sends_what_it_says[argmax of 14]",
        ),
    ),
)
