"""Correlations: the streams that they are drawn from, their generators, their stock."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

MUTANTS = (
    Mutant(
        name="both_generators_draw_alike",
        breaks="noise over F_2 and over F_16 is the same stream",
        file="protocols/ot/mixed.py",
        old=("        SilentReceiver(\n            channel, softspoken, prg.fork(), keys"),
        new=(
            "        SilentReceiver(\n"
            "            channel, softspoken, Prg(prg._key.tobytes(), prg._upper), keys"
        ),
        tests=(
            "tests/protocols/test_fresh_sessions.py::test_every_stream_of_a_session_is_one_of_its_own",
        ),
    ),
    Mutant(
        name="a_generator_of_a_constant_seed",
        breaks="the sender's trees are known",
        file="protocols/ot/mixed.py",
        old="        SilentSender(\n            channel, softspoken, prg.fork(), keys",
        new="        SilentSender(\n            channel, softspoken, Prg(bytes(16)), keys",
        tests=(
            "tests/protocols/test_fresh_sessions.py::test_every_stream_of_a_session_is_one_of_its_own",
        ),
    ),
    Mutant(
        name="sums_of_trees_without_base_keys",
        breaks="the sender reads both halves of all trees",
        file="protocols/ot/softspoken.py",
        old="(sums.reshape(TRANSFERS, 2, 16) ^ keys).tobytes()",
        new="(sums.reshape(TRANSFERS, 2, 16)).tobytes()",
        tests=("tests/protocols/test_base_ot.py::test_punctured_trees_know_all_leaves_but_one",),
    ),
    Mutant(
        name="a_seed_with_eight_bytes_of_zeros",
        breaks="a stream's key has 64 bits",
        file="protocols/prg.py",
        old="return cls._seeded(os.urandom(_SEEDED))",
        new="return cls._seeded(os.urandom(8) + bytes(8) + os.urandom(8))",
        tests=(
            "tests/protocols/test_prg.py::test_a_stream_is_seeded_with_all_that_the_operating_system_gives",
        ),
    ),
    Mutant(
        name="the_upper_half_follows_from_the_key",
        breaks="tables of many keys' first blocks serve",
        file="protocols/prg.py",
        old='int.from_bytes(drawn[BLOCK:], "little")',
        new='int.from_bytes(drawn[:8], "little")',
        tests=(
            "tests/protocols/test_prg.py::test_a_stream_is_seeded_with_all_that_the_operating_system_gives",
        ),
    ),
    Mutant(
        name="a_stream_that_starts_again",
        breaks="draws of equal size after the first are the same",
        file="protocols/prg.py",
        old=("        self._counter += -(-n // BLOCK)\n        return kernels.aes_ctr"),
        new=("        self._counter = -(-n // BLOCK)\n        return kernels.aes_ctr"),
        tests=("tests/protocols/test_prg.py::test_no_block_of_a_stream_serves_twice",),
    ),
    Mutant(
        name="a_block_of_two_draws",
        breaks="a draw that does not fill its last block shares it",
        file="protocols/prg.py",
        old=("        self._counter += -(-n // BLOCK)\n        return kernels.aes_ctr"),
        new=("        self._counter += n // BLOCK\n        return kernels.aes_ctr"),
        tests=("tests/protocols/test_prg.py::test_no_block_of_a_stream_serves_twice",),
    ),
    Mutant(
        name="a_fork_of_the_same_stream",
        breaks="parent and fork draw the same bytes",
        file="protocols/prg.py",
        old="return Prg._seeded(self.bytes(_SEEDED).tobytes())",
        new="return Prg(self._key.tobytes(), self._upper)",
        tests=("tests/protocols/test_prg.py::test_a_fork_is_seeded_with_what_comes_next",),
    ),
    Mutant(
        name="a_fork_under_the_parents_key",
        breaks="a fork is apart from its parent by 64 bits alone",
        file="protocols/prg.py",
        old="return Prg._seeded(self.bytes(_SEEDED).tobytes())",
        new="return Prg(self._key.tobytes(), int(self.uint64(1)[0]))",
        tests=("tests/protocols/test_prg.py::test_a_fork_is_seeded_with_what_comes_next",),
    ),
    Mutant(
        name="parts_that_overlap",
        breaks="two threads draw the same block",
        file="protocols/prg.py",
        old=("        self._counter += -(-n // BLOCK)\n        return part"),
        new=("        self._counter += max(0, -(-n // BLOCK) - 1)\n        return part"),
        tests=("tests/protocols/test_prg.py::test_no_block_of_a_stream_serves_twice",),
    ),
    Mutant(
        name="an_interrupted_draw_is_repeated",
        breaks="a block that went out before an exception serves again",
        file="protocols/prg.py",
        old=(
            "        self._counter += -(-n // BLOCK)\n"
            "        return kernels.aes_ctr(self._key, start, n, self._upper)"
        ),
        new=(
            "        made = kernels.aes_ctr(self._key, start, n, self._upper)\n"
            "        self._counter += -(-n // BLOCK)\n"
            "        return made"
        ),
        tests=("tests/protocols/test_single_use.py::test_an_interrupted_stream_does_not_go_back",),
    ),
    Mutant(
        name="one_hole_for_all_trees",
        breaks="the noise has as many bits as one tree's",
        file="protocols/ot/silent.py",
        old="alpha = self._prg.uint64(p.trees, p.depth).astype(np.uint16)",
        new="alpha = np.repeat(self._prg.uint64(1, p.depth).astype(np.uint16), p.trees)",
        tests=("tests/protocols/test_silent_noise.py::test_holes_are_uniform_and_independent",),
    ),
    Mutant(
        name="holes_of_a_constant_seed",
        breaks="the noise is known",
        file="protocols/ot/silent.py",
        old="alpha = self._prg.uint64(p.trees, p.depth).astype(np.uint16)",
        new="alpha = Prg(bytes(16)).uint64(p.trees, p.depth).astype(np.uint16)",
        tests=("tests/protocols/test_silent_noise.py::test_holes_are_uniform_and_independent",),
    ),
    Mutant(
        name="holes_at_even_places",
        breaks="each hole has a bit less",
        file="protocols/ot/silent.py",
        old="self._prg.uint64(p.trees, p.depth).astype(np.uint16)",
        new="(self._prg.uint64(p.trees, p.depth) & ~np.uint64(1)).astype(np.uint16)",
        tests=("tests/protocols/test_silent_noise.py::test_holes_are_uniform_and_independent",),
    ),
    Mutant(
        name="noise_of_zero",
        breaks="the outputs are a linear code's words",
        file="protocols/ot/silent.py",
        old="            choices[:, p.depth] = beta",
        new=("            beta = beta * np.uint8(0)\n            choices[:, p.depth] = beta"),
        tests=("tests/protocols/test_silent_noise.py::test_noise_is_never_zero",),
    ),
    Mutant(
        name="noise_of_one",
        breaks="three of four coordinates are without noise",
        file="protocols/ot/silent.py",
        old="            choices[:, p.depth] = beta",
        new=(
            "            beta = np.ones(p.trees, np.uint8)\n            choices[:, p.depth] = beta"
        ),
        tests=("tests/protocols/test_silent_noise.py::test_noise_is_never_zero",),
    ),
    Mutant(
        name="noise_values_that_follow_from_the_hole",
        breaks="the values add nothing to the search",
        file="protocols/ot/silent.py",
        old="self._prg.uint64(p.trees, 60) * np.uint64(15)",
        new="(alpha.astype(np.uint64) << np.uint64(60 - p.depth)) * np.uint64(15)",
        tests=("tests/protocols/test_silent_noise.py::test_noise_is_never_zero",),
    ),
    Mutant(
        name="holes_told_in_clear",
        breaks="the sender reads every hole",
        file="protocols/ot/silent.py",
        old="return alpha, beta, choices.reshape(-1) ^ u",
        new="return alpha, beta, choices.reshape(-1)",
        tests=("tests/protocols/test_silent_noise.py::test_shifts_tell_nothing_of_the_holes",),
    ),
    Mutant(
        name="an_element_masked_by_three_bits",
        breaks="the top bit of every noise value is told",
        file="protocols/ot/silent.py",
        old="return alpha, beta, choices.reshape(-1) ^ u",
        new="return alpha, beta, choices.reshape(-1) ^ (u & np.uint8(7))",
        tests=("tests/protocols/test_silent_noise.py::test_shifts_tell_nothing_of_the_holes",),
    ),
    Mutant(
        name="one_root_for_all_trees_of_a_refill",
        breaks="the leaf that is missing in one tree is open in another",
        file="protocols/ot/silent.py",
        old="roots = self._prg.bytes(16 * p.trees).reshape(p.trees, 16)",
        new="roots = np.tile(self._prg.bytes(16), (p.trees, 1))",
        tests=("tests/protocols/test_silent_noise.py::test_roots_and_keys_of_trees_serve_once",),
    ),
    Mutant(
        name="roots_of_64_bits",
        breaks="trees can be searched",
        file="protocols/ot/silent.py",
        old="roots = self._prg.bytes(16 * p.trees).reshape(p.trees, 16)",
        new=(
            "roots = np.concatenate([self._prg.bytes(8 * p.trees).reshape(p.trees, 8)] * 2, axis=1)"
        ),
        tests=("tests/protocols/test_silent_noise.py::test_roots_and_keys_of_trees_serve_once",),
    ),
    Mutant(
        name="keys_of_trees_again_in_the_next_iteration",
        breaks="one table of hashes serves two trees",
        file="protocols/ot/silent.py",
        old=(
            "return kernels.aes_ctr(nonce, 0, iterations * trees * 16).reshape(iterations, "
            "trees, 16)"
        ),
        new=(
            "return np.tile(kernels.aes_ctr(nonce, 0, trees * 16).reshape(1, trees, 16), "
            "(iterations, 1, 1))"
        ),
        tests=("tests/protocols/test_silent_noise.py::test_roots_and_keys_of_trees_serve_once",),
    ),
    Mutant(
        name="trees_keys_of_no_nonce",
        breaks="tables of hashes can be made before the connection",
        file="protocols/ot/silent.py",
        old="nonce = self._prg.bytes(NONCE_BYTES)",
        new="nonce = np.zeros(NONCE_BYTES, np.uint8)",
        tests=("tests/protocols/test_silent_noise.py::test_roots_and_keys_of_trees_serve_once",),
    ),
    Mutant(
        name="one_code_for_all_refills",
        breaks="work on one code serves against all refills",
        file="protocols/ot/silent.py",
        old="code = self._prg.bytes(NONCE_BYTES)",
        new="code = np.zeros(NONCE_BYTES, np.uint8)",
        tests=("tests/protocols/test_silent_noise.py::test_a_refill_has_a_code_that_no_other_has",),
    ),
    Mutant(
        name="a_refills_seeds_are_given_out",
        breaks="what the next refill starts from is known from transfers",
        file="protocols/ot/silent.py",
        old="self._expand(forest, slice(p.released_trees, p.trees), rows)",
        new="self._expand(forest, slice(0, p.trees - p.released_trees), rows)",
        tests=("tests/protocols/test_silent.py::test_bases_are_never_released",),
    ),
    Mutant(
        name="the_last_output_given_out_twice",
        breaks="two transfers under one correlation",
        file="protocols/ot/stock.py",
        old="taken, self._rest = self._rest[:n], self._rest[n:]",
        new="taken, self._rest = self._rest[:n], self._rest[n - 1 :]",
        tests=(
            "tests/protocols/test_correlations_serve_once.py::test_a_stock_gives_every_output_once_and_in_order",
        ),
    ),
    Mutant(
        name="an_output_kept_that_was_given_out",
        breaks="two transfers under one correlation, across a grain",
        file="protocols/ot/stock.py",
        old="self._rest = outputs[n:end].copy()",
        new="self._rest = outputs[n - 1 : end].copy()",
        tests=(
            "tests/protocols/test_correlations_serve_once.py::test_a_stock_gives_every_output_once_and_in_order",
        ),
    ),
    Mutant(
        name="planes_of_two_extensions_overlap",
        breaks="u of one call is the higher bits of the one before",
        file="protocols/ot/softspoken.py",
        old="            self._counter += k * blocks(size)",
        new="            self._counter += blocks(size)",
        tests=(
            "tests/protocols/test_correlations_serve_once.py::test_no_block_of_a_leaf_serves_two_correlations",
        ),
    ),
    Mutant(
        name="parts_of_an_extension_are_alike",
        breaks="correlations repeat every 2^16",
        file="protocols/ot/softspoken.py",
        old=(
            "            parts.append(Part(size, self._counter))\n"
            "            self._counter += k * blocks(size)"
        ),
        new=(
            "            parts.append(Part(size, self._counter))\n"
            "        self._counter += k * blocks(n)"
        ),
        tests=(
            "tests/protocols/test_correlations_serve_once.py::test_no_block_of_a_leaf_serves_two_correlations",
        ),
    ),
)
