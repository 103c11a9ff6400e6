"""How prepared runs are planned, and what they are said to cost."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

COSTS = "tests/runtime/test_prepared_costs.py::"
DIGITS = "tests/protocols/test_digits.py::"

MUTANTS = (
    Mutant(
        name="prepared_prices_of_all_runs",
        breaks="two releases cut comparisons differently, and the parties disagree",
        file="protocols/compare/digits.py",
        old="max(self.network.bit, BIT_1) if self.network.prepared else self.network.bit",
        new="max(self.network.bit, BIT_1)",
        tests=(f"{DIGITS}test_plans_of_runs_on_demand_are_as_they_were",),
    ),
    Mutant(
        name="preparation_costs_nothing",
        breaks="a preparation that takes more than the runs it is for",
        file="protocols/compare/digits.py",
        old=" + made * OFFLINE_1 // 100",
        new="",
        tests=(f"{DIGITS}test_what_a_prepared_run_pays_for_a_digit",),
    ),
    Mutant(
        name="late_choices_cost_nothing",
        breaks="one comparison after the other where one tree sends less",
        file="protocols/compare/digits.py",
        old="(self.values * bits * self.bit if self.network.prepared else 0)",
        new="0",
        tests=(
            "tests/protocols/test_joint.py::"
            "test_a_second_comparison_of_a_prepared_run_sends_its_choices_too",
        ),
    ),
    Mutant(
        name="results_are_not_fixed",
        breaks="a price without the corrections of steps that have no protocol of their own",
        file="runtime/cost/prepared.py",
        old="            return on_demand.online + fixing.fix_cost(n, step.bits)",
        new="            return on_demand.online",
        tests=(
            "tests/runtime/test_masked_runs.py::test_steps_without_a_masked_protocol_are_fixed",
        ),
    ),
    Mutant(
        name="every_layer_takes_a_correction",
        breaks="a price of messages that are not sent",
        file="runtime/cost/prepared.py",
        old="online_cost(spec) if at.index in late else known_cost(spec)",
        new="online_cost(spec)",
        tests=(
            "tests/runtime/test_masked_runs.py::test_a_prepared_run_equals_the_cleartext_executor",
        ),
    ),
    Mutant(
        name="choices_of_joins_beforehand",
        breaks="a price without what the run's own rounds send",
        file="runtime/cost/prepared.py",
        old="                    heard.add(lane)",
        new="                    pass",
        tests=(f"{COSTS}test_choices_of_known_digits_go_first_and_a_flight_with_them",),
    ),
    Mutant(
        name="a_preparation_is_not_checked",
        breaks="the price of a preparation without its check",
        file="runtime/cost/prepared.py",
        old="return Cost((*events, settle))",
        new="return Cost(tuple(events))",
        tests=(f"{COSTS}test_correlations_are_drawn_in_long_runs_and_checked_once",),
    ),
    Mutant(
        name="pads_for_nothing",
        breaks="a preparation without the work of its pads",
        file="runtime/cost/prepared.py",
        old="    return [Local(party, made)] if made else []",
        new="    return []",
        tests=(f"{COSTS}test_a_prepared_run_works_less_and_its_preparation_the_rest",),
    ),
    Mutant(
        name="prepared_runs_cut_as_on_demand",
        breaks="a price of other digits than the run's",
        file="runtime/cost/traffic.py",
        old="program.planned_for.ahead if prepared else program.planned_for",
        new="program.planned_for",
        tests=(f"{COSTS}test_a_prepared_run_is_cut_for_its_own_prices",),
    ),
    Mutant(
        name="a_layer_due_too_late",
        breaks="a client that cannot go on: its shares depend on a layer that nobody has evaluated",
        file="protocols/preparation.py",
        old="            count > before for count, before",
        new="            count > before + 1 for count, before",
        tests=(
            "tests/protocols/test_rounds.py::test_everything_is_due_once_and_a_layer_before_what_may_depend_on_it",
        ),
    ),
    Mutant(
        name="letters_that_nobody_has_read",
        breaks="messages of a preparation that are read as others",
        file="protocols/letters.py",
        old="        if self._come.nbytes:\n",
        new="        if self._come.nbytes < 0:\n",
        tests=("tests/protocols/test_rounds.py::test_letters_leave_and_come_in_order",),
    ),
    Mutant(
        name="a_walk_that_is_never_freed",
        breaks="a client's seed and masks of an item that failed stay in its memory",
        file="protocols/recording.py",
        old="            self._run.throw()\n",
        new="",
        tests=(
            "tests/protocols/test_rounds.py::test_what_a_recording_holds_is_freed_when_it_is_closed",
        ),
    ),
)
