"""Linear layers: rounding of encodings and biases, public polynomials, keys."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

RLWE = "protocols/linear/rlwe.py"
SERVER = "protocols/linear/server.py"
CLIENT = "protocols/linear/client.py"
RANDOMNESS = "tests/protocols/test_linear_randomness.py::"
REFUSALS = "tests/protocols/test_linear_refusals.py::"
ENCRYPTION = "tests/protocols/test_rlwe.py::"
HINTS = "runtime/party/hints.py"
EXECUTOR = "runtime/party/executor.py"
KEPT = "tests/runtime/test_hints.py::"

MUTANTS = (
    Mutant(
        name="a_secret_encrypts_twice",
        breaks="the same a under one secret: the difference of two images' shares",
        file=RLWE,
        old="        if layer in self._used:",
        new="        if layer < 0:",
        tests=(ENCRYPTION + "test_a_secret_serves_a_layer_once",),
    ),
    Mutant(
        name="dither_part_short",
        breaks="roundings that depend on one another, beyond the bound on noise",
        file=SERVER,
        old=(
            "    prgs = [session.prg.part(8 * block * (part.stop - part.start)) for part in parts]"
        ),
        new=("    prgs = [session.prg.part(block * (part.stop - part.start)) for part in parts]"),
        tests=(RANDOMNESS + "test_no_block_of_randomness_is_drawn_twice",),
    ),
    Mutant(
        name="encode_no_dither",
        breaks="errors of encodings with a mean: the bound on noise fails",
        file=RLWE,
        old="prg.uint64(flat.size), bits, q_low",
        new="np.zeros(flat.size, np.uint64), bits, q_low",
        tests=(RANDOMNESS + "test_the_clients_encodings_are_rounded_without_bias",),
    ),
    Mutant(
        name="encode_half_dither",
        breaks="rounding to nearest: errors depend on the share",
        file=RLWE,
        old="prg.uint64(flat.size), bits, q_low",
        new="np.full(flat.size, 1 << bits - 1, np.uint64), bits, q_low",
        tests=(RANDOMNESS + "test_the_clients_encodings_are_rounded_without_bias",),
    ),
    Mutant(
        name="encode_one_dither",
        breaks="one dither for all values: the bound on noise fails",
        file=RLWE,
        old="prg.uint64(flat.size), bits, q_low",
        new="np.repeat(prg.uint64(1), flat.size), bits, q_low",
        tests=(RANDOMNESS + "test_encodings_are_rounded_one_by_one",),
    ),
    Mutant(
        name="encode_dither_16bits",
        breaks="a dither with too few bits",
        file=RLWE,
        old="prg.uint64(flat.size), bits, q_low",
        new="prg.uint64(flat.size, 16), bits, q_low",
        tests=(RANDOMNESS + "test_encodings_are_rounded_one_by_one",),
    ),
    Mutant(
        name="encode_dither_pairs",
        breaks="neighbouring roundings that are one",
        file=RLWE,
        old="prg.uint64(flat.size), bits, q_low",
        new=("np.repeat(prg.uint64(-(-flat.size // 2)), 2)[: flat.size], bits, q_low"),
        tests=(RANDOMNESS + "test_encodings_are_rounded_one_by_one",),
    ),
    Mutant(
        name="bias_rounded_down",
        breaks="a bias whose low bits are dropped: a channel moves as one",
        file=SERVER,
        old="known = self._dithered(known, share, prg) >> np.int64(left)",
        new="known = known >> np.int64(left)",
        tests=(REFUSALS + "test_biases_are_rounded_for_every_output_anew",),
    ),
    Mutant(
        name="bias_rounded_nearest",
        breaks="a bias that is rounded once and for all",
        file=SERVER,
        old="known = self._dithered(known, share, prg) >> np.int64(left)",
        new=(
            "known = (known + (1 << left - 1)) >> np.int64(left)\n"
            "            known = np.broadcast_to(known, share.shape)"
        ),
        tests=(REFUSALS + "test_biases_are_rounded_for_every_output_anew",),
    ),
    Mutant(
        name="bias_one_dither",
        breaks="one rounding for all outputs",
        file=SERVER,
        old=("dither = prg.uint64(share.size, left).reshape(share.shape).astype(np.int64)"),
        new="dither = np.int64(prg.uint64(1, left)[0])",
        tests=(REFUSALS + "test_biases_are_rounded_for_every_output_anew",),
    ),
    Mutant(
        name="bias_dither_per_filter",
        breaks="one rounding for all outputs of a filter",
        file=SERVER,
        old=("dither = prg.uint64(share.size, left).reshape(share.shape).astype(np.int64)"),
        new=("dither = prg.uint64(share.shape[-3], left).reshape(-1, 1, 1).astype(np.int64)"),
        tests=(REFUSALS + "test_biases_are_rounded_for_every_output_anew",),
    ),
    Mutant(
        name="bias_dither_less",
        breaks="a bias that is rounded up too seldom",
        file=SERVER,
        old="dither = prg.uint64(share.size, left)",
        new="dither = prg.uint64(share.size, left - 1 or 1)",
        tests=(REFUSALS + "test_biases_are_rounded_for_every_output_anew",),
    ),
    Mutant(
        name="a_without_layer",
        breaks="one a in all layers under one secret: the shares",
        file=RLWE,
        old='f"layer/{layer}/tile/{tile}"',
        new='f"layer/tile/{tile}"',
        tests=(RANDOMNESS + "test_every_layer_and_tile_has_public_polynomials_of_its_own",),
    ),
    Mutant(
        name="a_layer_mod_16",
        breaks="one a in every sixteenth layer",
        file=RLWE,
        old='f"layer/{layer}/tile/{tile}"',
        new='f"layer/{layer % 16}/tile/{tile}"',
        tests=(RANDOMNESS + "test_every_layer_and_tile_has_public_polynomials_of_its_own",),
    ),
    Mutant(
        name="a_tile_mod_2",
        breaks="one a in every second tile",
        file=RLWE,
        old='f"layer/{layer}/tile/{tile}"',
        new='f"layer/{layer}/tile/{tile % 2}"',
        tests=(RANDOMNESS + "test_every_layer_and_tile_has_public_polynomials_of_its_own",),
    ),
    Mutant(
        name="a_layer_tile_joined",
        breaks="layer 1, tile 11 has the a of layer 11, tile 1",
        file=RLWE,
        old='f"layer/{layer}/tile/{tile}"',
        new='f"layer/{layer}{tile}"',
        tests=(RANDOMNESS + "test_every_layer_and_tile_has_public_polynomials_of_its_own",),
    ),
    Mutant(
        name="a_without_prime",
        breaks="residues modulo two primes that are nearly the same",
        file=RLWE,
        old='f"{name}/{i}"',
        new='f"{name}"',
        tests=(RANDOMNESS + "test_public_polynomials_are_uniform_and_all_different",),
    ),
    Mutant(
        name="a_without_degree",
        breaks="rings of two degrees share their a",
        file=RLWE,
        old="moiety.rlwe.public/{self.degree}/",
        new="moiety.rlwe.public/",
        tests=(RANDOMNESS + "test_no_block_of_randomness_is_drawn_twice",),
    ),
    Mutant(
        name="a_without_seed",
        breaks="two models share their a",
        file=RLWE,
        old="hashlib.sha256(seed + f",
        new='hashlib.sha256(b"" + f',
        tests=(RANDOMNESS + "test_no_block_of_randomness_is_drawn_twice",),
    ),
    Mutant(
        name="a_pk_domain_is_layer_0",
        breaks="the public key and a ciphertext share their a",
        file=RLWE,
        old='"public-key", 1',
        new='"layer/0/tile/0", 1',
        tests=(RANDOMNESS + "test_public_polynomials_are_uniform_and_all_different",),
    ),
    Mutant(
        name="a_repeats_every_64",
        breaks="one a in every 64th ciphertext",
        file=RLWE,
        old=("out[i] = kernels.uniform_residues(words, p, need).reshape(count, self.degree)"),
        new=(
            "out[i] = np.tile(kernels.uniform_residues(words, p, need).reshape(count, "
            "self.degree)[:64], (-(-count // 64), 1))[:count]"
        ),
        tests=(RANDOMNESS + "test_public_polynomials_are_uniform_and_all_different",),
    ),
    Mutant(
        name="a_not_uniform",
        breaks="an a of half the range",
        file=RLWE,
        old=("out[i] = kernels.uniform_residues(words, p, need).reshape(count, self.degree)"),
        new=(
            "out[i] = (words[:need] & np.uint32((1 << p.bit_length() - 1) - "
            "1)).reshape(count, self.degree)"
        ),
        tests=(RANDOMNESS + "test_public_polynomials_are_uniform_and_all_different",),
    ),
    Mutant(
        name="claim_not_called",
        breaks="a layer asked for twice under one secret: the shares",
        file=CLIENT,
        old=("    key.claim(layer)\n"),
        new="",
        tests=(RANDOMNESS + "test_a_secret_encrypts_for_a_layer_once",),
    ),
    Mutant(
        name="claim_nothing",
        breaks="a claim that nobody remembers",
        file=RLWE,
        old="        self._used.add(layer)",
        new="        pass",
        tests=(RANDOMNESS + "test_a_secret_encrypts_for_a_layer_once",),
    ),
    Mutant(
        name="forget_nothing",
        breaks="keys that serve the next query, too",
        file=RLWE,
        old="        self._keys.clear()",
        new="        pass",
        tests=(RANDOMNESS + "test_keys_serve_one_query_and_one_ring",),
    ),
    Mutant(
        name="keys_by_degree_only",
        breaks="one key for all rings of a degree",
        file=RLWE,
        old="self._keys[key.ring.degree, key.ring.primes] = key",
        new=(
            "self._keys[key.ring.degree, key.ring.primes] = key\n"
            "        self._keys.update({k: key for k in self._keys if k[0] == "
            "key.ring.degree})"
        ),
        tests=(RANDOMNESS + "test_keys_serve_one_query_and_one_ring",),
    ),
    Mutant(
        name="secret_in_repr",
        breaks="the secret, in an error's text or a log",
        file=RLWE,
        old="    secret: I8 = field(repr=False)",
        new="    secret: I8 = field()",
        tests=(ENCRYPTION + "test_a_secret_serves_a_layer_once",),
    ),
    Mutant(
        name="hints_of_anything",
        breaks="hints of another Program, weights or layout",
        file=HINTS,
        old="                if metadata.get(what) != expected:",
        new="                if metadata.get(what) is None:",
        tests=(KEPT + "test_damaged_or_foreign_hints_are_made_again",),
    ),
    Mutant(
        name="hints_without_weights",
        breaks="hints of other weights",
        file=HINTS,
        old=', "weights": self.weights,',
        new=",",
        tests=(KEPT + "test_damaged_or_foreign_hints_are_made_again",),
    ),
    Mutant(
        name="hints_without_digest",
        breaks="damaged hints",
        file=HINTS,
        old='        if metadata.get("contents") != _digest(hints):',
        new='        if "contents" not in metadata:',
        tests=(KEPT + "test_damaged_or_foreign_hints_are_made_again",),
    ),
    Mutant(
        name="hints_of_any_name",
        breaks="a traceback for a file with another tensor",
        file=HINTS,
        old='        if not all(re.fullmatch("[0-9]{1,9}", number) for number in names.values()):',
        new="        if False:",
        tests=(KEPT + "test_damaged_or_foreign_hints_are_made_again",),
    ),
    Mutant(
        name="hints_of_other_layers",
        breaks="a traceback, or hints of layers that there are not",
        file=EXECUTOR,
        old="    if kept.keys() != layers.keys():",
        new="    if not kept.keys() >= layers.keys():",
        tests=(KEPT + "test_damaged_or_foreign_hints_are_made_again",),
    ),
    Mutant(
        name="hints_not_probed",
        breaks="hints that another release derived otherwise",
        file=EXECUTOR,
        old="        if not np.array_equal(layers[probe].hint_array(), kept[probe]):",
        new="        if False:",
        tests=(KEPT + "test_a_consistent_file_with_other_hints_is_found_out",),
    ),
)
