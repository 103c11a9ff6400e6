"""The store of prepared items: each used once, and no older copy used at all."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

STORE = "tests/runtime/test_store.py::"
ITEMS = "tests/runtime/test_store_items.py::"
OPENING = "tests/runtime/test_store_opening.py::"
LEDGER = "tests/runtime/test_store_ledger.py::"
POSITIONS = "tests/runtime/test_store_positions.py::"

MUTANTS = (
    Mutant(
        name="read_before_the_mark",
        breaks="a crash after the first byte leaves an item that can be used again",
        file="runtime/store/store.py",
        old="            self._ledger.append(*self._skipped(indices), used)\n",
        new=(
            "            for reader in found:\n"
            "                reader.check()\n"
            "            self._ledger.append(*self._skipped(indices), used)\n"
        ),
        tests=(STORE + "test_the_mark_is_on_the_disk_before_a_byte_is_read",),
    ),
    Mutant(
        name="the_file_goes_before_the_mark",
        breaks="a crash loses an item that was not used",
        file="runtime/store/store.py",
        old="            self._ledger.append(*self._skipped(indices), used)\n",
        new=(
            "            self.path(indices[0]).unlink()\n"
            "            self._ledger.append(*self._skipped(indices), used)\n"
        ),
        tests=(STORE + "test_after_a_crash_at_any_moment_nothing_is_used_twice",),
    ),
    Mutant(
        name="items_before_it_stay",
        breaks="an item that the peer has passed can still be used",
        file="runtime/store/store.py",
        old="            self._ledger.append(*self._skipped(indices), used)\n",
        new="            self._ledger.append(used)\n",
        tests=(STORE + "test_items_before_one_that_is_used_are_burned",),
    ),
    Mutant(
        name="the_name_not_synced",
        breaks="an item that the ledger names is lost with the power",
        file="runtime/store/store.py",
        old="                sync_folder(self.folder)\n",
        new="",
        tests=(STORE + "test_an_item_is_prepared_when_it_is_on_the_disk",),
    ),
    Mutant(
        name="the_item_not_synced",
        breaks="an item that the ledger names is empty when the power comes back",
        file="runtime/store/item.py",
        old="            os.fsync(self._file.fileno())\n",
        new="",
        tests=(STORE + "test_an_item_is_prepared_when_it_is_on_the_disk",),
    ),
    Mutant(
        name="prepared_before_it_is_there",
        breaks="a crash leaves an item in the ledger that has no file",
        file="runtime/store/store.py",
        old=(
            "                writer.path.rename(path)\n                sync_folder(self.folder)\n"
        ),
        new=(
            "                self._ledger.append(prepared)\n"
            "                writer.path.rename(path)\n"
            "                sync_folder(self.folder)\n"
            "                return\n"
        ),
        tests=(STORE + "test_an_item_is_prepared_when_it_is_on_the_disk",),
    ),
    Mutant(
        name="leftovers_stay",
        breaks="half an item of a crash takes its place on the disk for ever",
        file="runtime/store/store.py",
        old="            store.removed = store.tidy()\n",
        new="",
        tests=(STORE + "test_after_a_crash_at_any_moment_nothing_is_used_twice",),
    ),
    Mutant(
        name="one_key_for_an_index",
        breaks="a second attempt at an item meets the same nonces under the same key",
        file="runtime/store/item.py",
        old='key.derive(b"item" + index.to_bytes(8, "big") + salt, binding)',
        new='key.derive(b"item" + index.to_bytes(8, "big"), binding)',
        tests=(ITEMS + "test_the_same_item_twice_has_another_key",),
    ),
    Mutant(
        name="chunks_without_their_item",
        breaks="a chunk of one item passes in another",
        file="runtime/store/item.py",
        old='self.index.to_bytes(8, "big") + chunk',
        new="bytes(8) + chunk",
        tests=(ITEMS + "test_a_chunk_stands_at_its_place_alone",),
    ),
    Mutant(
        name="chunks_without_their_store",
        breaks="a chunk of another store passes",
        file="runtime/store/item.py",
        old="        return self.binding + numbers + name.encode()",
        new="        return numbers + name.encode()",
        tests=(ITEMS + "test_a_chunk_stands_at_its_place_alone",),
    ),
    Mutant(
        name="chunks_without_their_stream",
        breaks="a chunk of one stream passes in another",
        file="runtime/store/item.py",
        old="        return self.binding + numbers + name.encode()",
        new="        return self.binding + numbers",
        tests=(ITEMS + "test_a_chunk_stands_at_its_place_alone",),
    ),
    Mutant(
        name="no_last_chunk",
        breaks="a stream that was cut at a chunk passes for whole",
        file="runtime/store/item.py",
        old=" + bytes([last])",
        new="",
        tests=(ITEMS + "test_a_chunk_stands_at_its_place_alone",),
    ),
    Mutant(
        name="one_store_for_both_parties",
        breaks="on one machine the two parties' items have the same keys",
        file="runtime/store/binding.py",
        old='self.format.to_bytes(4, "big") + self.role.encode() + bytes',
        new='self.format.to_bytes(4, "big") + bytes',
        tests=(OPENING + "test_both_parties_come_to_one_lineage_and_different_keys",),
    ),
    Mutant(
        name="any_terms",
        breaks="a retrained model meets what was prepared for the old weights",
        file="runtime/store/store.py",
        old="            if terms is not None and store.binding.terms != terms:",
        new="            if False:",
        tests=(OPENING + "test_a_store_of_others_is_refused",),
    ),
    Mutant(
        name="two_at_a_time",
        breaks="two processes use the same item",
        file="runtime/store/lock.py",
        old="        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)\n",
        new="",
        tests=(OPENING + "test_a_second_process_is_refused_and_a_dead_one_is_not_in_the_way",),
    ),
    Mutant(
        name="a_child_uses_it_too",
        breaks="a process that was forked off uses the same item",
        file="runtime/store/store.py",
        old="        if os.getpid() != self._owner or self._lock < 0:",
        new="        if self._lock < 0:",
        tests=(OPENING + "test_a_store_serves_the_process_that_opened_it",),
    ),
    Mutant(
        name="young_again",
        breaks="a clock that goes back makes an old item young",
        file="runtime/store/store.py",
        old="        now = max(self._clock(), book.latest)",
        new="        now = self._clock()",
        tests=(OPENING + "test_what_is_too_old_is_not_used_whatever_the_clock_says",),
    ),
    Mutant(
        name="no_limit_of_bytes",
        breaks="a client fills the vendor's disk",
        file="runtime/store/limits.py",
        old="        if self.nbytes is not None and nbytes + size > self.nbytes:",
        new="        if self.nbytes is not None and nbytes > self.nbytes:",
        tests=(OPENING + "test_limits_are_kept_before_an_item_is_begun",),
    ),
    Mutant(
        name="room_unlooked_for",
        breaks="an item is begun that the disk cannot hold",
        file="runtime/store/store.py",
        old="        if free < size + MARGIN:",
        new="        if False:",
        tests=(STORE + "test_room_is_looked_for_beforehand",),
    ),
    Mutant(
        name="records_without_the_one_before",
        breaks="a mark is taken out of the ledger unnoticed",
        file="runtime/store/ledger.py",
        old='    return hmac.digest(key, before + payload, "sha256")',
        new='    return hmac.digest(key, payload, "sha256")',
        tests=(LEDGER + "test_lines_that_are_removed_doubled_or_moved_are_noticed",),
    ),
    Mutant(
        name="an_end_is_torn",
        breaks="a mark is taken out by changing the byte behind it",
        file="runtime/store/ledger.py",
        old="                if found._follows(line[:-1]):",
        new="                if False:",
        tests=(LEDGER + "test_an_end_of_a_line_that_was_changed_is_no_torn_line",),
    ),
    Mutant(
        name="torn_lines_stay",
        breaks="the next mark is written behind half a line, and both are lost",
        file="runtime/store/ledger.py",
        old="                os.ftruncate(descriptor, found._size)\n",
        new="",
        tests=(LEDGER + "test_a_cut_leaves_the_records_before_it",),
    ),
    Mutant(
        name="half_a_mark_stays",
        breaks="after a full disk the ledger cannot be read any more",
        file="runtime/store/ledger.py",
        old="            os.ftruncate(self._descriptor, self._size)\n",
        new="",
        tests=(LEDGER + "test_what_a_full_disk_took_is_taken_away",),
    ),
    Mutant(
        name="used_again",
        breaks="a ledger may say that an item is used twice",
        file="runtime/store/ledger.py",
        old="                _demand(all(index in self.items for index in indices))",
        new="                indices = tuple(each for each in indices if each in self.items)",
        tests=(LEDGER + "test_a_record_follows_those_before_it",),
    ),
    Mutant(
        name="counters_not_compared",
        breaks="a peer's store that was brought back from a copy is used",
        file="runtime/store/meeting.py",
        old="            claim.counter < remembered.counter\n            or claim.next",
        new="            claim.next",
        tests=(POSITIONS + "test_an_older_copy_is_refused_at_both",),
    ),
    Mutant(
        name="ends_not_compared",
        breaks="a copy with as many records passes",
        file="runtime/store/meeting.py",
        old="claim.counter == remembered.counter and claim.head != remembered.head",
        new="False",
        tests=(POSITIONS + "test_as_many_records_with_another_end_are_an_older_copy",),
    ),
    Mutant(
        name="own_claims_forgotten",
        breaks="this side's store that was brought back from a copy is used",
        file="runtime/store/meeting.py",
        old="            self._check_own(position.echo)\n",
        new="            pass\n",
        tests=(POSITIONS + "test_an_older_copy_is_refused_at_both",),
    ),
    Mutant(
        name="own_ends_not_compared",
        breaks="a copy that went on alone passes for the store itself",
        file="runtime/store/meeting.py",
        old=" or tags[claim.counter - 1] != claim.head:",
        new=":",
        tests=(POSITIONS + "test_a_copy_that_went_on_alone_is_refused",),
    ),
    Mutant(
        name="positions_not_remembered",
        breaks="nobody knows that the peer was further",
        file="runtime/store/meeting.py",
        old="            self.ledger.append(Met(signed=position.own.encode().hex()))",
        new="            pass",
        tests=(POSITIONS + "test_an_older_copy_is_refused_at_both",),
    ),
    Mutant(
        name="signatures_unchecked",
        breaks="whoever is on the line says where a store stands",
        file="runtime/store/position.py",
        old="            key.verify(self.signature, _DOMAIN + self.claim.encode())",
        new="            pass",
        tests=(POSITIONS + "test_a_position_of_others_is_refused",),
    ),
    Mutant(
        name="ones_own_position",
        breaks="a position that is sent back passes for the peer's",
        file="runtime/store/meeting.py",
        old=" or claim.role == binding.role:",
        new=":",
        tests=(POSITIONS + "test_a_position_of_others_is_refused",),
    ),
    Mutant(
        name="used_before_the_peer_has_marked",
        breaks="a copy of this side's store uses the item again after the peer's crash",
        file="runtime/store/meeting.py",
        old="        if position.claim.next <= index:",
        new="        if False:",
        tests=(POSITIONS + "test_an_item_is_used_when_both_have_marked_it",),
    ),
    Mutant(
        name="digests_not_compared",
        breaks="two halves of different items are used together",
        file="runtime/store/reconcile.py",
        old=" if here[index] == there[index])",
        new=")",
        tests=(POSITIONS + "test_digests_that_differ_are_passed_over",),
    ),
    Mutant(
        name="back_to_the_slower_one",
        breaks="an item that one side has used is used again",
        file="runtime/store/reconcile.py",
        old="    start = max(own.claim.next, peer.claim.next, skip_to)",
        new="    start = max(min(own.claim.next, peer.claim.next), skip_to)",
        tests=(POSITIONS + "test_both_come_to_the_same_and_never_go_back",),
    ),
    Mutant(
        name="any_jump",
        breaks="a peer burns all that was prepared at once",
        file="runtime/store/reconcile.py",
        old="    if lost > skipped:",
        new="    if False:",
        tests=(POSITIONS + "test_more_than_a_few_items_are_given_up_only_when_told",),
    ),
)
