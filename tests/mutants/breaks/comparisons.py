"""Comparisons and what is made of them: shares in their rings, operands left alone,
quorums of cohorts."""

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
            "        larger = ring.reduce(b + _positive_part(session, ring.reduce(a - "
            "b, bits), bits), bits)"
        ),
        new="        larger = b + _positive_part(session, ring.reduce(a - b, bits), bits)",
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
        name="weighted_shares_not_reduced",
        breaks="the client reads sums of shares",
        file="protocols/aggregate/weigh.py",
        old="    return ring.reduce(weights * x + total, bits)",
        new="    return weights * x + total",
        tests=(
            "tests/protocols/test_protocols.py::"
            "test_protocol_computes_and_sends_what_it_says[weigh 30 by 2]",
        ),
    ),
    Mutant(
        name="stochastic_truncation_without_the_one",
        breaks="a bias of half a last place in every layer",
        file="protocols/compare/truncate.py",
        old="    one = np.uint64(1 if session.is_server else 0)",
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
    Mutant(
        name="one_quorum_of_two",
        breaks="a key for as few positives as negatives",
        file="protocols/aggregate/quorum.py",
        old=(
            "        for mark, needed in ((POSITIVE, least.positives), (NEGATIVE, "
            "least.negatives)):\n"
            "            polynomial"
        ),
        new=(
            "        for mark, needed in ((POSITIVE, 2), (NEGATIVE, least.negatives)):\n"
            "            polynomial"
        ),
        tests=("tests/protocols/test_aggregate.py::test_a_key_takes_as_many_images_as_its_quorum",),
    ),
    Mutant(
        name="shares_of_a_key_are_the_secret",
        breaks="one image gives a key that takes a quorum",
        file="protocols/aggregate/quorum.py",
        old="            polynomial = _random_elements(prg, needed)",
        new="            polynomial = [*_random_elements(prg, 1), *[0] * (needed - 1)]",
        tests=("tests/protocols/test_aggregate.py::test_a_key_takes_as_many_images_as_its_quorum",),
    ),
    Mutant(
        name="coefficients_are_known",
        breaks="two images give a key that takes a quorum",
        file="protocols/aggregate/quorum.py",
        old="            polynomial = _random_elements(prg, needed)",
        new="            polynomial = [*_random_elements(prg, 1), *[1] * (needed - 1)]",
        tests=(
            "tests/protocols/test_aggregate.py::test_a_key_takes_as_many_images_as_its_quorum",
            "tests/protocols/test_aggregate.py::test_all_coefficients_are_drawn",
        ),
    ),
    Mutant(
        name="one_coefficient_for_all",
        breaks="two images give a key that takes a quorum",
        file="protocols/aggregate/quorum.py",
        old="            polynomial = _random_elements(prg, needed)",
        new="            polynomial = _random_elements(prg, 1) * needed",
        tests=(
            "tests/protocols/test_aggregate.py::test_a_key_takes_as_many_images_as_its_quorum",
            "tests/protocols/test_aggregate.py::test_all_coefficients_are_drawn",
        ),
    ),
    Mutant(
        name="keys_of_a_known_stream",
        breaks="everybody knows every cohort's keys",
        file="protocols/aggregate/quorum.py",
        old=("    keys: list[Key | None] = []\n    table"),
        new=("    prg = Prg(bytes(16))\n    keys: list[Key | None] = []\n    table"),
        tests=("tests/protocols/test_aggregate.py::test_all_coefficients_are_drawn",),
    ),
    Mutant(
        name="one_secret_for_both_classes",
        breaks="a key for enough negatives alone",
        file="protocols/aggregate/quorum.py",
        old="            secrets.append(polynomial[0])",
        new="            secrets.append(polynomial[0] if mark == NEGATIVE else 0)",
        tests=("tests/protocols/test_aggregate.py::test_a_key_takes_as_many_images_as_its_quorum",),
    ),
    Mutant(
        name="secrets_of_64_bits",
        breaks="keys of half the entropy",
        file="protocols/aggregate/quorum.py",
        old="& FIELD) % FIELD",
        new="& 0xFFFFFFFFFFFFFFFF) % FIELD",
        tests=("tests/protocols/test_aggregate.py::test_all_coefficients_are_drawn",),
    ),
    Mutant(
        name="client_does_not_count",
        breaks="a client that is told noise and takes it for sums",
        file="protocols/aggregate/quorum.py",
        old="        enough &= int(np.sum(marks == mark)) >= needed",
        new="        enough &= True",
        tests=("tests/protocols/test_aggregate.py::test_a_key_takes_the_same_work_for_any_labels",),
    ),
    Mutant(
        name="sums_not_masked",
        breaks="sums of a cohort below its quorum are revealed",
        file="protocols/aggregate/auroc.py",
        old=(
            "    mine = sealed.shares + _masks(sealed.keys()) if session.is_server "
            "else sealed.shares"
        ),
        new="    mine = sealed.shares",
        tests=(
            "tests/protocols/test_aggregate.py::test_what_too_few_labels_stand_behind_is_masked",
        ),
    ),
    Mutant(
        name="one_mask_for_both_sums",
        breaks="the difference of two sums below the quorum is revealed",
        file="protocols/aggregate/auroc.py",
        old="[:2] for key in keys]",
        new="[[0, 0]] for key in keys]",
        tests=(
            "tests/protocols/test_aggregate.py::test_what_too_few_labels_stand_behind_is_masked",
        ),
    ),
    Mutant(
        name="sums_told_without_a_key",
        breaks="noise is told as a result",
        file="protocols/aggregate/auroc.py",
        old="    return None if key is None else sums",
        new="    return sums",
        tests=("tests/protocols/test_aggregate.py::test_messages_are_uniform_for_any_labels[0]",),
    ),
    Mutant(
        name="impossible_areas_pass",
        breaks="an AUROC above 1",
        file="protocols/aggregate/auroc.py",
        old="sums.doubled <= pairs and sums.spread <= bound and auroc_of",
        new="sums.spread <= bound and auroc_of",
        tests=("tests/protocols/test_aggregate.py::test_sums_that_no_scores_have",),
    ),
    Mutant(
        name="impossible_spreads_pass",
        breaks="a standard error of no scores",
        file="protocols/aggregate/auroc.py",
        old="sums.doubled <= pairs and sums.spread <= bound and auroc_of",
        new="sums.doubled <= pairs and auroc_of",
        tests=("tests/protocols/test_aggregate.py::test_sums_that_no_scores_have",),
    ),
    Mutant(
        name="negative_variances_pass",
        breaks="a standard error of no scores",
        file="protocols/aggregate/auroc.py",
        old=" and auroc_of(sums, m, k).variance >= 0",
        new="",
        tests=("tests/protocols/test_aggregate.py::test_sums_that_no_scores_have",),
    ),
    Mutant(
        name="weights_below_the_quorum",
        breaks="sums of a label with one positive",
        file="protocols/aggregate/auroc.py",
        old="enough = np.minimum(m, k) >= 2",
        new="enough = np.minimum(m, k) >= 0",
        tests=(
            "tests/protocols/test_aggregate.py::"
            "test_two_parties_say_what_the_definition_and_the_studys_own_delong_say",
            "tests/protocols/test_aggregate.py::test_the_largest_sums_fit_their_rings",
        ),
    ),
    Mutant(
        name="ties_count_twice",
        breaks="an AUROC that is too high by its ties",
        file="protocols/aggregate/placements.py",
        old="    thresholds = np.array([[0], [ring.mask(bits)]], np.uint64)",
        new="    thresholds = np.array([[0], [0]], np.uint64)",
        tests=(
            "tests/protocols/test_aggregate.py::"
            "test_two_parties_say_what_the_definition_and_the_studys_own_delong_say",
        ),
    ),
    Mutant(
        name="placements_in_float32",
        breaks="sums of 4096 images lose their last bits",
        file="protocols/aggregate/placements.py",
        old="parts.astype(np.float64), flat.size",
        new="parts.astype(np.float16), flat.size",
        tests=(
            "tests/protocols/test_protocols.py::"
            "test_protocol_computes_and_sends_what_it_says[placements of 1 by 600 images, 20 bits]",
        ),
    ),
)
