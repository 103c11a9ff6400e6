"""What an operator relies on: quotas, audit log, the disk, cohorts, deadlines."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

MUTANTS = (
    Mutant(
        name="the_access_file_is_read_once",
        breaks="who is taken off stays in",
        file="runtime/operation/access.py",
        old="        if stamp != self._seen:",
        new="        if not self._seen:",
        tests=("tests/runtime/test_access.py::test_changes_count_from_the_next_question_on",),
    ),
    Mutant(
        name="edits_by_their_time",
        breaks="an edit that keeps the file's time is not seen",
        file="runtime/operation/access.py",
        old="return status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino",
        new="return (status.st_mtime_ns,)",
        tests=(
            "tests/runtime/test_access_limits.py::test_who_is_taken_off_is_out_whatever_the_clock_of_the_file_says",
        ),
    ),
    Mutant(
        name="one_image_too_many",
        breaks="the total is reached and one image more is run",
        file="runtime/operation/access.py",
        old="count.total + images > entry.images_in_total",
        new="count.total + images > entry.images_in_total + 1",
        tests=("tests/runtime/test_access_limits.py::test_a_client_gets_what_its_limits_say",),
    ),
    Mutant(
        name="a_run_over_the_limit",
        breaks="a run of several images goes past the limit",
        file="runtime/operation/access.py",
        old="count.today + images > entry.images_per_day",
        new="count.today >= entry.images_per_day",
        tests=("tests/runtime/test_access_limits.py::test_a_client_gets_what_its_limits_say",),
    ),
    Mutant(
        name="days_never_end",
        breaks="yesterday's images count against today's limit",
        file="runtime/operation/counters.py",
        old="return self if self.day >= day else Count(total=self.total, day=day)",
        new="return self",
        tests=("tests/runtime/test_access_limits.py::test_a_client_gets_what_its_limits_say",),
    ),
    Mutant(
        name="days_of_the_place",
        breaks="the day ends at the midnight of wherever the server is",
        file="runtime/operation/counters.py",
        old="datetime.now(UTC).date()",
        new="datetime.now().date()",
        tests=("tests/runtime/test_access_limits.py::test_days_are_of_utc",),
    ),
    Mutant(
        name="no_programs_are_all",
        breaks="a client that may ask for no Program may ask for any",
        file="runtime/operation/access.py",
        old="if entry.programs is not None and not",
        new="if entry.programs and not",
        tests=("tests/runtime/test_access_limits.py::test_programs_are_known_by_their_beginnings",),
    ),
    Mutant(
        name="clocks_go_back",
        breaks="a clock that is put back gives images",
        file="runtime/operation/counters.py",
        old=".on(max(self.today(), state.day))",
        new=".on(self.today())",
        tests=("tests/runtime/test_access.py::test_a_clock_that_goes_back_gives_nothing",),
    ),
    Mutant(
        name="old_counts",
        breaks="an older copy of the counts is taken",
        file="runtime/operation/counters.py",
        old="        if state.serial < serial:",
        new="        if False:",
        tests=("tests/runtime/test_access.py::test_an_older_copy_is_refused",),
    ),
    Mutant(
        name="counted_after_the_run",
        breaks="a run that breaks costs nothing",
        file="runtime/party/server/visit.py",
        old=(
            "        self._house.admission.take(self._caller, begin.images)\n"
            "        limit = self._house.run_seconds[begin.images]\n"
            "        self._tell(reports.Began(images=begin.images, limit=limit))\n"
            '        with self._alarm.within(limit, "a run"):\n'
            "            with self._stocks.taken(begin) as item:\n"
            "                run = self._house.executor.run_keeping\n"
            "                kept, cost = run(session, images=begin.images, item=item)\n"
            "            if self._desk is not None and kept is not None:\n"
            "                self._desk.keep(begin.cohort, begin.index, kept)\n"
        ),
        new=(
            "        limit = self._house.run_seconds[begin.images]\n"
            "        self._tell(reports.Began(images=begin.images, limit=limit))\n"
            '        with self._alarm.within(limit, "a run"):\n'
            "            with self._stocks.taken(begin) as item:\n"
            "                run = self._house.executor.run_keeping\n"
            "                kept, cost = run(session, images=begin.images, item=item)\n"
            "            if self._desk is not None and kept is not None:\n"
            "                self._desk.keep(begin.cohort, begin.index, kept)\n"
            "            self._house.admission.take(self._caller, begin.images)\n"
        ),
        tests=(
            "tests/runtime/test_on_the_disk.py::test_counted_then_written_down_then_run_then_answered",
        ),
    ),
    Mutant(
        name="runs_unrecorded",
        breaks="the audit log does not have a run that was made",
        file="runtime/party/server/operation.py",
        old="        self.recorder.record(events.Begun(peer=peer_of(caller), count=images))",
        new="        pass",
        tests=(
            "tests/runtime/test_on_the_disk.py::test_counted_then_written_down_then_run_then_answered",
        ),
    ),
    Mutant(
        name="answered_before_kept",
        breaks="an image is said to be done whose share may be lost",
        file="runtime/party/server/visit.py",
        old=(
            "            if self._desk is not None and kept is not None:\n"
            "                self._desk.keep(begin.cohort, begin.index, kept)\n"
            "            self._served(cost)"
        ),
        new=(
            "            self._served(cost)\n"
            "            if self._desk is not None and kept is not None:\n"
            "                self._desk.keep(begin.cohort, begin.index, kept)"
        ),
        tests=(
            "tests/runtime/test_on_the_disk.py::test_counted_then_written_down_then_run_then_answered",
        ),
    ),
    Mutant(
        name="marked_after_revealing",
        breaks="a server that dies in between reveals a cohort twice",
        file="runtime/party/cohorts.py",
        old="        before_revealing()\n        told = opens(session, sealed)",
        new="        told = opens(session, sealed)\n        before_revealing()",
        tests=(
            "tests/runtime/test_on_the_disk.py::test_counted_then_written_down_then_run_then_answered",
        ),
    ),
    Mutant(
        name="counts_not_synced",
        breaks="counts are lost with the power",
        file="runtime/program/atomic.py",
        old=('        with temporary.open("rb") as file:\n            os.fsync(file.fileno())\n'),
        new="",
        tests=("tests/runtime/test_on_the_disk.py::test_what_is_done_stays_done",),
    ),
    Mutant(
        name="synced_after_the_rename",
        breaks="a power failure leaves an empty file under the name",
        file="runtime/program/atomic.py",
        old=(
            '        with temporary.open("rb") as file:\n'
            "            os.fsync(file.fileno())\n"
            "        temporary.replace(path)"
        ),
        new=(
            "        temporary.replace(path)\n"
            '        with path.open("rb") as file:\n'
            "            os.fsync(file.fileno())"
        ),
        tests=(
            "tests/runtime/test_on_the_disk.py::test_a_file_is_whole_on_the_disk_before_it_takes_its_place",
        ),
    ),
    Mutant(
        name="written_in_place",
        breaks="a reader sees half a file",
        file="runtime/program/atomic.py",
        old="        temporary.replace(path)\n",
        new="        path.write_bytes(temporary.read_bytes())\n",
        tests=(
            "tests/runtime/test_on_the_disk.py::test_a_file_is_whole_on_the_disk_before_it_takes_its_place",
        ),
    ),
    Mutant(
        name="counts_name_not_synced",
        breaks="new counts are lost with their name",
        file="runtime/operation/counters.py",
        old="            sync_folder(self.path.parent)\n",
        new="",
        tests=("tests/runtime/test_on_the_disk.py::test_what_is_done_stays_done",),
    ),
    Mutant(
        name="lines_not_synced",
        breaks="lines of log, journal and shares are lost with the power",
        file="runtime/operation/files.py",
        old=(
            "        done += os.pwrite(descriptor, data[done:], at + done)\n"
            "    os.fsync(descriptor)"
        ),
        new="        done += os.pwrite(descriptor, data[done:], at + done)",
        tests=("tests/runtime/test_on_the_disk.py::test_what_is_done_stays_done",),
    ),
    Mutant(
        name="synced_before_it_is_written",
        breaks="the last line is lost with the power",
        file="runtime/operation/files.py",
        old=(
            "    done = 0\n"
            "    while done < len(data):\n"
            "        done += os.pwrite(descriptor, data[done:], at + done)\n"
            "    os.fsync(descriptor)"
        ),
        new=(
            "    os.fsync(descriptor)\n"
            "    done = 0\n"
            "    while done < len(data):\n"
            "        done += os.pwrite(descriptor, data[done:], at + done)"
        ),
        tests=("tests/runtime/test_on_the_disk.py::test_what_is_done_stays_done",),
    ),
    Mutant(
        name="new_folders_not_synced",
        breaks="a folder of cohorts is lost with its markers",
        file="runtime/operation/files.py",
        old=("        folder.mkdir(mode, exist_ok=True)\n        sync_folder(folder.parent)"),
        new="        folder.mkdir(mode, exist_ok=True)",
        tests=("tests/runtime/test_on_the_disk.py::test_what_is_done_stays_done",),
    ),
    Mutant(
        name="a_short_write_is_enough",
        breaks="half a line passes for a line",
        file="runtime/operation/files.py",
        old=("    while done < len(data):\n        done +="),
        new=("    if data:\n        done +="),
        tests=("tests/runtime/test_on_the_disk.py::test_a_disk_that_takes_a_few_bytes_at_a_time",),
    ),
    Mutant(
        name="the_marker_not_synced",
        breaks="a cohort's marker is lost with the power",
        file="runtime/party/server/cohorts.py",
        old=(
            "                sync_folder(marker.parent)\n                self._path(cohort, SHARES)"
        ),
        new="                self._path(cohort, SHARES)",
        tests=("tests/runtime/test_on_the_disk.py::test_the_marker_is_there_before_the_shares_go",),
    ),
    Mutant(
        name="shares_go_before_the_marker",
        breaks="a crash leaves neither shares nor marker",
        file="runtime/party/server/cohorts.py",
        old=("            record()\n            marker"),
        new=(
            "            record()\n"
            "            self._path(cohort, SHARES).unlink(missing_ok=True)\n"
            "            marker"
        ),
        tests=("tests/runtime/test_on_the_disk.py::test_the_marker_is_there_before_the_shares_go",),
    ),
    Mutant(
        name="a_spent_cohort_again",
        breaks="a cohort has two aggregates",
        file="runtime/party/server/cohorts.py",
        old=("        with self._held():\n            self.check_open(cohort)\n            spent"),
        new=("        with self._held():\n            spent"),
        tests=("tests/runtime/test_cohort_store.py::test_the_last_cohort_is_denied_to_the_next",),
    ),
    Mutant(
        name="shares_unchecked",
        breaks="a damaged share is used",
        file="runtime/party/server/cohorts.py",
        old="            if record == _record(header, run, share):",
        new="            if True:",
        tests=("tests/runtime/test_cohort_store.py::test_a_changed_byte_is_noticed",),
    ),
    Mutant(
        name="one_shelf_for_all",
        breaks="a client's cohort takes another client's images",
        file="runtime/party/server/cohorts.py",
        old='self.root / (client or "anybody")',
        new='self.root / "anybody"',
        tests=(
            "tests/runtime/test_cohort_store.py::test_clients_and_programs_and_cohorts_are_apart",
        ),
    ),
    Mutant(
        name="lines_without_the_one_before",
        breaks="a line of the audit log is taken out unnoticed",
        file="runtime/operation/audit.py",
        old='"previous": head.sha256}',
        new='"previous": GENESIS}',
        tests=("tests/runtime/test_audit.py::test_a_chain_verifies_and_says_where_it_ends",),
    ),
    Mutant(
        name="the_chain_unchecked",
        breaks="verification accepts a cut",
        file="runtime/operation/audit.py",
        old="    if link.previous != at.sha256:",
        new="    if False:",
        tests=("tests/runtime/test_audit.py::test_every_change_is_found_at_its_line",),
    ),
    Mutant(
        name="the_noted_head_unchecked",
        breaks="missing lines at the end are not noticed",
        file="runtime/operation/audit.py",
        old="    if not noted:",
        new="    if False:",
        tests=("tests/runtime/test_audit.py::test_missing_lines_at_the_end_need_a_noted_head",),
    ),
    Mutant(
        name="a_torn_line_vanishes",
        breaks="a line is hidden by tearing it",
        file="runtime/operation/audit.py",
        old="                head = _add(descriptor, head, _repair(torn))\n",
        new="",
        tests=("tests/runtime/test_audit.py::test_a_torn_line_is_named_and_repaired",),
    ),
    Mutant(
        name="no_deadlines",
        breaks="a client that hangs is served for ever",
        file="runtime/party/server/limits.py",
        old="            if now > limit:",
        new="            if False:",
        tests=("tests/runtime/test_limits.py::test_what_lasts_too_long_is_ended_with_its_words",),
    ),
    Mutant(
        name="no_least_rate",
        breaks="a client that trickles is waited for",
        file="runtime/party/server/limits.py",
        old="        if rate < self._options.min_rate:",
        new="        if False:",
        tests=(
            "tests/runtime/test_limits.py::test_a_transfer_slower_than_the_least_rate_is_ended",
        ),
    ),
    Mutant(
        name="one_fast_minute_pays",
        breaks="a fast beginning pays for an endless stall",
        file="runtime/party/server/limits.py",
        old="        self._seconds, self._moved = 0.0, 0\n",
        new="        self._seconds = 0.0\n",
        tests=("tests/runtime/test_limits.py::test_a_fast_beginning_does_not_pay_for_a_stall",),
    ),
)
