"""Aggregates of a cohort: quorums, masks of sums, placements."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

MUTANTS = (
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
        file="protocols/aggregate/sealed.py",
        old="    mine = shares + _masks(sealed.keys(), count) if session.is_server else shares",
        new="    mine = shares",
        tests=(
            "tests/protocols/test_aggregate.py::test_what_too_few_labels_stand_behind_is_masked",
        ),
    ),
    Mutant(
        name="one_mask_for_both_sums",
        breaks="the difference of two sums below the quorum is revealed",
        file="protocols/aggregate/sealed.py",
        old="[:count] for key in keys]",
        new="[[0] * count] for key in keys]",
        tests=(
            "tests/protocols/test_aggregate.py::test_what_too_few_labels_stand_behind_is_masked",
        ),
    ),
    Mutant(
        name="sums_told_without_a_key",
        breaks="noise is told as a result",
        file="protocols/aggregate/sealed.py",
        old="    return None if key is None else integers",
        new="    return integers",
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
    Mutant(
        name="false_positives_not_counted",
        breaks="decisions on negative images are left out",
        file="protocols/aggregate/counts.py",
        old="        entries[..., 0, NEGATIVE] = decisions << np.uint64(HALF)",
        new="        pass",
        tests=(
            "tests/protocols/test_counts.py::test_two_parties_count_as_plain_integers_do",
            "tests/protocols/test_counts.py::test_the_largest_counts_do_not_touch_each_other",
        ),
    ),
    Mutant(
        name="unknown_labels_count",
        breaks="a client counts images that it does not spend on the key",
        file="protocols/aggregate/counts.py",
        old="        entries = np.zeros((*decisions.shape, 1, 4), np.uint64)",
        new="        entries = np.repeat(decisions[..., None, None], 4, axis=3)",
        tests=(
            "tests/protocols/test_counts.py::test_the_marks_that_count_are_those_that_open_the_key",
        ),
    ),
    Mutant(
        name="impossible_counts_pass",
        breaks="more false positives than there are negative images",
        file="protocols/aggregate/counts.py",
        old=" and counts.false_positives <= negatives",
        new="",
        tests=("tests/protocols/test_counts.py::test_counts_that_no_decisions_have",),
    ),
    Mutant(
        name="counted_in_a_narrow_ring",
        breaks="a Program whose decisions are shared in another ring than the counts",
        file="runtime/program/revealed.py",
        old="        if policy.counts and end.output.bits != COUNTED_BITS:",
        new="        if False:",
        tests=("tests/runtime/test_refused_programs.py::test_unsound_as_a_whole_is_refused",),
    ),
)
