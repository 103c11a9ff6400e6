"""Linear layers: secrets, errors, encryptions of zero, masks."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

RLWE = "protocols/linear/rlwe.py"
SERVER = "protocols/linear/server.py"
CLIENT = "protocols/linear/client.py"
RANDOMNESS = "tests/protocols/test_linear_randomness.py::"

MUTANTS = (
    Mutant(
        name="public_key_without_error",
        breaks="the secret, from a public key that is a*s exactly",
        file=CLIENT,
        old=("pb = key.mask(public_key_a(ring_q, public_seed)[:, None], session.prg)"),
        new=(
            "pb = ring_q.inverse(kernels.multiply_mod(public_key_a(ring_q, "
            "public_seed)[:, None], key.hat, ring_q.p))"
        ),
        tests=(RANDOMNESS + "test_public_keys_and_ciphertexts_have_errors_of_their_own",),
    ),
    Mutant(
        name="mask_without_error",
        breaks="the shares, from ciphertexts without error",
        file=RLWE,
        old=("return self.ring.add(product, self.ring.lift(error(prg, a_hat.shape[1:])))"),
        new="return product",
        tests=(RANDOMNESS + "test_public_keys_and_ciphertexts_have_errors_of_their_own",),
    ),
    Mutant(
        name="mask_one_error",
        breaks="one error in all ciphertexts of a piece: differences are exact",
        file=RLWE,
        old="error(prg, a_hat.shape[1:])",
        new="np.broadcast_to(error(prg, a_hat.shape[2:]), a_hat.shape[1:]).copy()",
        tests=(RANDOMNESS + "test_public_keys_and_ciphertexts_have_errors_of_their_own",),
    ),
    Mutant(
        name="error_half",
        breaks="errors of half the size: less than 128 bits",
        file=RLWE,
        old=("return kernels.sample_binomial(prg.uint64(math.prod(shape))).reshape(shape)"),
        new=("return (kernels.sample_binomial(prg.uint64(math.prod(shape))) // 2).reshape(shape)"),
        tests=(RANDOMNESS + "test_public_keys_and_ciphertexts_have_errors_of_their_own",),
    ),
    Mutant(
        name="error_20bits",
        breaks="errors of a smaller parameter than the table was computed for",
        file=RLWE,
        old="kernels.sample_binomial(prg.uint64(math.prod(shape)))",
        new=(
            "kernels.sample_binomial(prg.uint64(math.prod(shape)) & np.uint64(((1 << "
            "20) - 1) << 21 | (1 << 20) - 1))"
        ),
        tests=(RANDOMNESS + "test_public_keys_and_ciphertexts_have_errors_of_their_own",),
    ),
    Mutant(
        name="error_of_few_words",
        breaks="errors drawn from a few bits, of one sign",
        file=RLWE,
        old="kernels.sample_binomial(prg.uint64(math.prod(shape)))",
        new="kernels.sample_binomial(prg.uint64(math.prod(shape), 22))",
        tests=(RANDOMNESS + "test_public_keys_and_ciphertexts_have_errors_of_their_own",),
    ),
    Mutant(
        name="secret_binary",
        breaks="a binary secret: less than 128 bits",
        file=RLWE,
        old="secret = ternary(prg, (ring.degree,))",
        new="secret = np.abs(ternary(prg, (ring.degree,)))",
        tests=(RANDOMNESS + "test_secrets_are_ternary_and_serve_one_ring_and_run",),
    ),
    Mutant(
        name="secret_half",
        breaks="a secret whose second half is its first",
        file=RLWE,
        old="secret = ternary(prg, (ring.degree,))",
        new="secret = np.concatenate([ternary(prg, (ring.degree // 2,))] * 2)",
        tests=(RANDOMNESS + "test_secrets_are_ternary_and_serve_one_ring_and_run",),
    ),
    Mutant(
        name="client_reuses_secret",
        breaks="one secret for all runs meets the same a twice",
        file=RLWE,
        old="        secret = ternary(prg, (ring.degree,))",
        new=(
            "        if not hasattr(prg, 'kept'):\n"
            "            prg.kept = ternary(prg, (8192,))\n"
            "        secret = prg.kept[: ring.degree]"
        ),
        tests=(RANDOMNESS + "test_secrets_are_ternary_and_serve_one_ring_and_run",),
    ),
    Mutant(
        name="ternary_wrap4",
        breaks="every coefficient of a ternary polynomial twice",
        file=RLWE,
        old="prg.uint64(-(-size // 4)))[:size]",
        new="prg.uint64(-(-size // 8)))[np.arange(size) // 2]",
        tests=(RANDOMNESS + "test_every_answer_has_an_encryption_of_zero_of_its_own",),
    ),
    Mutant(
        name="client_prg_once",
        breaks="the same errors in every piece of a tile's ciphertexts",
        file=CLIENT,
        old=("    jobs = [(part, session.prg.fork()) for part in chunks(count, degree)]"),
        new=(
            "    seed = session.prg.bytes(16).tobytes()\n"
            "    jobs = [(part, Prg(seed, 1)) for part in chunks(count, degree)]"
        ),
        tests=(RANDOMNESS + "test_public_keys_and_ciphertexts_have_errors_of_their_own",),
    ),
    Mutant(
        name="client_prg_same_every_tile",
        breaks="the same errors in every tile's ciphertexts",
        file=CLIENT,
        old=("    jobs = [(part, session.prg.fork()) for part in chunks(count, degree)]"),
        new=("    jobs = [(part, session.prg.part(0).fork()) for part in chunks(count, degree)]"),
        tests=(RANDOMNESS + "test_public_keys_and_ciphertexts_have_errors_of_their_own",),
    ),
    Mutant(
        name="zero_without_second_error",
        breaks="weights, from an a part that is a*u exactly",
        file=RLWE,
        old=("            parts.append(ring.add(product, ring.lift(error(prg, shape))))"),
        new=(
            "            parts.append(ring.add(product, ring.lift(error(prg, shape))) "
            "if parts else product)"
        ),
        tests=(RANDOMNESS + "test_every_answer_has_an_encryption_of_zero_of_its_own",),
    ),
    Mutant(
        name="zero_without_first_error",
        breaks="a b part whose noise the mask alone hides",
        file=RLWE,
        old=("            parts.append(ring.add(product, ring.lift(error(prg, shape))))"),
        new=(
            "            parts.append(product if parts else ring.add(product, "
            "ring.lift(error(prg, shape))))"
        ),
        tests=(RANDOMNESS + "test_every_answer_has_an_encryption_of_zero_of_its_own",),
    ),
    Mutant(
        name="zero_same_error_both",
        breaks="one error in both parts of an encryption of zero",
        file=RLWE,
        old=(
            "        parts = []\n"
            "        for key in (self.pa_hat, self.pb_hat):\n"
            "            product = ring.inverse(kernels.multiply_mod(u_hat, key, ring.p))\n"
            "            parts.append(ring.add(product, ring.lift(error(prg, shape))))"
        ),
        new=(
            "        parts = []\n"
            "        both = ring.lift(error(prg, shape))\n"
            "        for key in (self.pa_hat, self.pb_hat):\n"
            "            product = ring.inverse(kernels.multiply_mod(u_hat, key, ring.p))\n"
            "            parts.append(ring.add(product, both))"
        ),
        tests=(RANDOMNESS + "test_every_answer_has_an_encryption_of_zero_of_its_own",),
    ),
    Mutant(
        name="zero_one_u",
        breaks="one u for all answers of a piece",
        file=RLWE,
        old="u_hat = ring.forward(ring.lift(ternary(prg, shape)))",
        new=(
            "u_hat = np.repeat(ring.forward(ring.lift(ternary(prg, (1, "
            "ring.degree)))), count, axis=1)"
        ),
        tests=(RANDOMNESS + "test_every_answer_has_an_encryption_of_zero_of_its_own",),
    ),
    Mutant(
        name="u_repeats_every_16",
        breaks="one u in every sixteenth answer: differences of their hints",
        file=RLWE,
        old="u_hat = ring.forward(ring.lift(ternary(prg, shape)))",
        new=(
            "u_hat = ring.forward(ring.lift(np.tile(ternary(prg, (16, ring.degree)), "
            "(-(-count // 16), 1))[:count]))"
        ),
        tests=(RANDOMNESS + "test_every_answer_has_an_encryption_of_zero_of_its_own",),
    ),
    Mutant(
        name="u_binary",
        breaks="u is not uniform",
        file=RLWE,
        old="u_hat = ring.forward(ring.lift(ternary(prg, shape)))",
        new="u_hat = ring.forward(ring.lift(np.abs(ternary(prg, shape))))",
        tests=(RANDOMNESS + "test_every_answer_has_an_encryption_of_zero_of_its_own",),
    ),
    Mutant(
        name="zeros_shared_by_tiles",
        breaks="one encryption of zero in every tile",
        file=SERVER,
        old="        a, b_zero = _answer_a(session, key, spec, hint[tile], window)",
        new=(
            "        a, b_zero = _answer_a(session, key, spec, hint[tile], window) if "
            "not request.a_parts else (a, b_zero)"
        ),
        tests=(RANDOMNESS + "test_every_answer_has_an_encryption_of_zero_of_its_own",),
    ),
    Mutant(
        name="prg_forked_once",
        breaks="one encryption of zero in every piece of a tile",
        file=SERVER,
        old=("    jobs = [(part, session.prg.fork()) for part in chunks(count, layout.degree)]"),
        new=(
            "    seed = session.prg.bytes(16).tobytes()\n"
            "    jobs = [(part, Prg(seed, 1)) for part in chunks(count, layout.degree)]"
        ),
        tests=(RANDOMNESS + "test_every_answer_has_an_encryption_of_zero_of_its_own",),
    ),
    Mutant(
        name="prg_same_every_tile",
        breaks="one stream of encryptions of zero for all tiles",
        file=SERVER,
        old=("    jobs = [(part, session.prg.fork()) for part in chunks(count, layout.degree)]"),
        new=(
            "    jobs = [(part, session.prg.part(0).fork()) for part in chunks(count, "
            "layout.degree)]"
        ),
        tests=(RANDOMNESS + "test_every_answer_has_an_encryption_of_zero_of_its_own",),
    ),
    Mutant(
        name="both_zeros_not_added",
        breaks="answers without encryption of zero: the hint, and with it the weights",
        file=SERVER,
        old="        zero_a, zero_b = key.zeros(part.stop - part.start, prg)",
        new=("        zero_a, zero_b = (np.zeros_like(hint[:, part]) for _ in range(2))"),
        tests=(RANDOMNESS + "test_every_answer_has_an_encryption_of_zero_of_its_own",),
    ),
    Mutant(
        name="zeros_one_for_piece",
        breaks="one encryption of zero for 32 answers",
        file=SERVER,
        old="        zero_a, zero_b = key.zeros(part.stop - part.start, prg)",
        new=(
            "        zero_a, zero_b = (np.repeat(z, part.stop - part.start, axis=1) "
            "for z in key.zeros(1, prg))"
        ),
        tests=(RANDOMNESS + "test_every_answer_has_an_encryption_of_zero_of_its_own",),
    ),
    Mutant(
        name="zeros_only_first_piece",
        breaks="answers after the first 32 have no encryption of zero",
        file=SERVER,
        old="        zero_a, zero_b = key.zeros(part.stop - part.start, prg)",
        new=(
            "        zero_a, zero_b = key.zeros(part.stop - part.start, prg)\n"
            "        if part.start:\n"
            "            zero_a[:], zero_b[:] = 0, 0"
        ),
        tests=(RANDOMNESS + "test_every_answer_has_an_encryption_of_zero_of_its_own",),
    ),
    Mutant(
        name="mask_zero",
        breaks="the noise of answers, which depends on the weights",
        file=SERVER,
        old="        masks[at] = prg.uint64(rounded.size, bits)",
        new="        masks[at] = 0",
        tests=(RANDOMNESS + "test_masks_are_uniform_and_serve_one_output",),
    ),
    Mutant(
        name="mask_one_value",
        breaks="differences of answers' noise",
        file=SERVER,
        old="        masks[at] = prg.uint64(rounded.size, bits)",
        new="        masks[at] = prg.uint64(1, bits)[0]",
        tests=(RANDOMNESS + "test_masks_are_uniform_and_serve_one_output",),
    ),
    Mutant(
        name="mask_a_bit_less",
        breaks="the top bit of every answer",
        file=SERVER,
        old="        masks[at] = prg.uint64(rounded.size, bits)",
        new="        masks[at] = prg.uint64(rounded.size, bits - 1)",
        tests=(RANDOMNESS + "test_masks_are_uniform_and_serve_one_output",),
    ),
    Mutant(
        name="mask_pairs",
        breaks="differences of neighbouring answers",
        file=SERVER,
        old="        masks[at] = prg.uint64(rounded.size, bits)",
        new=(
            "        masks[at] = np.repeat(prg.uint64(-(-rounded.size // 2), bits), "
            "2)[: rounded.size]"
        ),
        tests=(RANDOMNESS + "test_masks_are_uniform_and_serve_one_output",),
    ),
    Mutant(
        name="mask_repeats_2",
        breaks="differences of answers, half a message apart",
        file=SERVER,
        old="        masks[at] = prg.uint64(rounded.size, bits)",
        new=(
            "        masks[at] = np.resize(prg.uint64(-(-rounded.size // 2), bits), rounded.size)"
        ),
        tests=(RANDOMNESS + "test_masks_are_uniform_and_serve_one_output",),
    ),
    Mutant(
        name="mask_same_every_tile",
        breaks="one mask in all tiles",
        file=SERVER,
        old=(
            "    prgs = [stream.part(8 * (at.stop - at.start)) for at in ranges]\n    for message"
        ),
        new=("    prgs = [stream.part(0) for at in ranges]\n    for message"),
        tests=(RANDOMNESS + "test_masks_are_uniform_and_serve_one_output",),
    ),
    Mutant(
        name="mask_part_short",
        breaks="masks of one message that are the next one's, too",
        file=SERVER,
        old=(
            "    prgs = [stream.part(8 * (at.stop - at.start)) for at in ranges]\n    for message"
        ),
        new=("    prgs = [stream.part(at.stop - at.start) for at in ranges]\n    for message"),
        tests=(RANDOMNESS + "test_no_block_of_randomness_is_drawn_twice",),
    ),
    Mutant(
        name="mask_added_numpy",
        breaks="masks that anybody can compute",
        file=SERVER,
        old="        masks[at] = prg.uint64(rounded.size, bits)",
        new=(
            "        masks[at] = np.random.default_rng(0).integers(0, 1 << bits, "
            "rounded.size, np.uint64)"
        ),
        tests=(RANDOMNESS + "test_masks_are_uniform_and_serve_one_output",),
    ),
)
