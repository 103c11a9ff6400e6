"""Runs that were prepared ahead: both parties mark an item before they use it, the same one, within
its limits, and say so where there is none.
"""

from __future__ import annotations

from tests.mutants.mutant import Mutant

RUNS = "tests/runtime/test_prepared_runs.py::"
REFUSALS = "tests/runtime/test_prepared_refusals.py::"
COMMANDS = "tests/runtime/test_prepared_commands.py::"
LOSSES = "tests/runtime/test_prepared_losses.py::"

MUTANTS = (
    Mutant(
        name="client_goes_on_without_the_servers_mark",
        breaks="a copy of the server's store uses the item again, and sees an image",
        file="runtime/party/client_stock.py",
        old="            self.stock.confirm(decoded(answer.position), item.index)\n",
        new="            decoded(answer.position)\n",
        tests=(REFUSALS + "test_a_server_that_has_not_marked_the_item_is_not_told_anything",),
    ),
    Mutant(
        name="server_goes_on_without_the_clients_mark",
        breaks="a copy of the client's store uses the item again",
        file="runtime/party/server/stocks.py",
        old="        stock.confirm(decoded(begin.position), begin.item)\n",
        new="",
        tests=(REFUSALS + "test_a_client_that_has_not_marked_its_item_gets_nothing",),
    ),
    Mutant(
        name="items_without_their_connection",
        breaks="halves that two connections made meet under one index",
        file="runtime/party/prepared.py",
        old='b"moiety prepared item" + binding + numbers',
        new='b"moiety prepared item" + numbers',
        tests=(RUNS + "test_an_item_is_of_one_connection_one_index_and_one_size",),
    ),
    Mutant(
        name="items_without_their_index",
        breaks="items of one connection are taken for each other",
        file="runtime/party/prepared.py",
        old='    numbers = index.to_bytes(8, "big") + images.to_bytes(4, "big")\n',
        new='    numbers = images.to_bytes(4, "big")\n',
        tests=(RUNS + "test_an_item_is_of_one_connection_one_index_and_one_size",),
    ),
    Mutant(
        name="any_index_is_prepared",
        breaks="a client makes the server keep its half under another number",
        file="runtime/party/server/stocks.py",
        old="        if asked.index != stock.fresh:\n",
        new="        if asked.index < 0:\n",
        tests=(REFUSALS + "test_what_a_client_may_not_say",),
    ),
    Mutant(
        name="any_item_is_used",
        breaks="the client chooses which of the server's items is used, and skips as it likes",
        file="runtime/party/server/stocks.py",
        old="        if not stock.indices or begin.item != stock.indices[0]:\n",
        new="        if not stock.indices:\n",
        tests=(REFUSALS + "test_what_a_client_may_not_say",),
    ),
    Mutant(
        name="a_store_stays_open",
        breaks="the next connection of the same process cannot use what is prepared",
        file="runtime/party/client.py",
        old="        for stock in self._stocks.values():\n            stock.close()\n",
        new="",
        tests=(RUNS + "test_items_outlive_the_connection_and_the_server",),
    ),
    Mutant(
        name="a_clients_own_limits_ignored",
        breaks="a client fills the vendor's disk beyond what the access file grants it",
        file="runtime/party/server/desk.py",
        old="limits=limits.within(self.cellar.limits)",
        new="limits=self.cellar.limits",
        tests=(RUNS + "test_a_quota_counts_images_and_not_items",),
    ),
    Mutant(
        name="room_not_asked_for",
        breaks="the server prepares what it cannot keep, and ends the session",
        file="runtime/party/server/stocks.py",
        old="            stock.check_room()\n",
        new="            pass\n",
        tests=(RUNS + "test_the_servers_limits_decline_another_item",),
    ),
    Mutant(
        name="items_count_against_the_quota",
        breaks="an image costs twice: when its item is made, and when it is used",
        file="runtime/party/server/visit.py",
        old="        limit = self._house.run_seconds[asked.images]\n",
        new=(
            "        self._house.admission.take(self._caller, asked.images)\n"
            "        limit = self._house.run_seconds[asked.images]\n"
        ),
        tests=(RUNS + "test_a_quota_counts_images_and_not_items",),
    ),
    Mutant(
        name="a_silent_end_of_what_is_prepared",
        breaks="runs take ten times as long, and nobody hears why",
        file="runtime/party/client.py",
        old="            self._taken.remove(images)\n            self.client.on_empty(images)\n",
        new="            self._taken.remove(images)\n",
        tests=(RUNS + "test_prepared_runs_are_exact_and_then_all_is_on_demand",),
    ),
    Mutant(
        name="thrown_away_when_the_server_has_another_folder",
        breaks="a vendor's mistyped option costs the hospital what it has prepared",
        file="runtime/party/client_stock.py",
        old="    elif new is not NewStore.ANEW and (count := len(old.usable())):\n",
        new="    elif not old and (count := 1):\n",
        tests=(RUNS + "test_a_store_that_only_one_side_has_is_worth_nothing",),
    ),
    Mutant(
        name="any_store_goes_with_the_clients",
        breaks="of two clients without keys one cannot go on when the other has begun anew",
        file="runtime/party/server/stocks.py",
        old="        if stock.store.binding.lineage != lineage:\n",
        new="        if not lineage:\n",
        tests=(RUNS + "test_one_client_of_two_without_keys_begins_anew",),
    ),
    Mutant(
        name="given_up_without_a_word",
        breaks="a client's mistyped option costs it what the server has prepared with it",
        file="runtime/party/server/stocks.py",
        old="            elif not asked.anew and (count := len(old.usable())):\n",
        new="            elif asked.anew and (count := 0):\n",
        tests=(RUNS + "test_a_store_that_only_one_side_has_is_worth_nothing",),
    ),
    Mutant(
        name="too_old_by_now",
        breaks="an item that expires during a connection ends it as an internal failure",
        file="runtime/party/stock.py",
        old="        if not any(item.index == index for item in self.store.usable()):\n",
        new="        if index < 0:\n",
        tests=(LOSSES + "test_one_that_becomes_too_old_meanwhile_ends_the_connection",),
    ),
    Mutant(
        name="nothing_kept_after_a_run_on_demand",
        breaks="an option is ignored without a word, and the next run finds nothing prepared",
        file="runtime/cli/commands/infer.py",
        old="    if keep:\n",
        new="    if keep and not on_demand:\n",
        tests=(COMMANDS + "test_what_is_kept_after_a_run_on_demand",),
    ),
    Mutant(
        name="skipped_items_stay",
        breaks="what a user gives up keeps its place at both sides, and is used another time",
        file="runtime/party/stock.py",
        old="        self.given_up = self.store.skip(skip_to)\n",
        new="",
        tests=(LOSSES + "test_items_can_be_given_up",),
    ),
    Mutant(
        name="given_up_before_they_are_compared",
        breaks="items are given up for an option that the two stores then refuse",
        file="runtime/party/stock.py",
        old="        peer = self.store.meet(position)\n",
        new="        self.store.skip(skip_to)\n        peer = self.store.meet(position)\n",
        tests=(LOSSES + "test_nothing_is_given_up_where_the_stores_do_not_go_together",),
    ),
    Mutant(
        name="damage_ends_the_command",
        breaks="one bad block of a client's disk ends a study",
        file="runtime/party/stock.py",
        old="                raise ItemLost(str(error), index) from error\n",
        new="                raise\n",
        tests=(LOSSES + "test_a_damaged_item_costs_one_run",),
    ),
    Mutant(
        name="the_client_is_not_told_what_is_lost",
        breaks="a client whose run was ended by the server's damaged item takes it for a bug",
        file="runtime/party/server/visit.py",
        old='self._lost("failed", str(lost), item_lost_words(lost.index))',
        new='self._lost("failed", str(lost))',
        tests=(LOSSES + "test_a_damaged_item_costs_one_run",),
    ),
    Mutant(
        name="a_position_without_its_list",
        breaks="a peer ends a session as an internal failure",
        file="runtime/party/stock.py",
        old="        if peer.catalogue is None:\n",
        new="        if peer.catalogue == ():\n",
        tests=(REFUSALS + "test_a_position_that_lists_nothing_is_refused",),
    ),
    Mutant(
        name="preparations_without_a_clock",
        breaks="a client holds a place of the server for ever",
        file="runtime/party/server/visit.py",
        old='        with self._alarm.within(limit, "the preparation of an item"):\n',
        new="        if limit:\n",
        tests=(REFUSALS + "test_a_preparation_takes_no_longer_than_a_run_may",),
    ),
    Mutant(
        name="stores_of_all_peers_are_one",
        breaks="one client meets the shares that were prepared with another",
        file="runtime/party/stock.py",
        old="            peer=_digits(line.peer),\n",
        new="            peer=KEYLESS,\n",
        tests=(RUNS + "test_over_tls_the_stores_are_for_both_keys",),
    ),
    Mutant(
        name="stores_of_all_sizes_are_one",
        breaks="a run of several images reads what was prepared for one",
        file="runtime/party/stock.py",
        old="        return folder if images == 1 else",
        new="        return folder if images else",
        tests=(RUNS + "test_each_size_of_run_has_its_own",),
    ),
    Mutant(
        name="items_of_another_release_are_used",
        breaks="pads are read at the wrong places: two entries of one table under known pads",
        file="runtime/party/executor.py",
        old="        demand = self._demand(images)\n        check_demand(item, demand)\n",
        new="        demand = self._demand(images)\n",
        tests=(
            "tests/runtime/test_masked_runs.py::test_an_item_of_another_form_of_run_is_not_used",
        ),
    ),
)
