"""A line that fails: who must end in time, say why, and keep nothing."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

SESSIONS = "tests/runtime/test_faults.py::test_every_kind_of_fault_ends_well[TLS]"
INTERRUPTED = "tests/runtime/test_interrupted_sends.py"
TCP, TLS = "tests/runtime/test_tcp.py::", "tests/runtime/test_tls.py::"

MUTANTS = (
    Mutant(
        name="a_record_may_trickle",
        breaks="a byte now and then holds a client, and a server that has given up, for ever",
        file="runtime/party/tls.py",
        old="            if time.monotonic() > until:",
        new="            if until < 0:",
        tests=(f"{TCP}test_a_record_that_trickles_is_silence",),
    ),
    Mutant(
        name="a_frame_may_trickle",
        breaks="the same without TLS",
        file="runtime/party/transport.py",
        old="        if now - begun > self.limits.patience:",
        new="        if begun < 0:",
        tests=(f"{TCP}test_patience_ends_with_a_frame_that_trickles",),
    ),
    Mutant(
        name="bytes_put_patience_off",
        breaks="each byte of a frame grants another patience",
        file="runtime/party/transport.py",
        old="            begun = min(begun, heard)",
        new="            begun = heard",
        tests=(f"{TCP}test_patience_ends_with_a_frame_that_trickles",),
    ),
    Mutant(
        name="a_deadline_is_not_held",
        breaks="a handshake takes as long as the peer likes",
        file="runtime/party/transport.py",
        old="        if self._deadline is not None and now > self._deadline:",
        new="        if self._deadline is not None and now < 0:",
        tests=(f"{TCP}test_deadline_stops_a_trickle",),
    ),
    Mutant(
        name="the_tls_handshake_has_no_deadline",
        breaks="a process of the server is held by a byte now and then",
        file="runtime/party/tls.py",
        old="            if left <= 0:  # whoever trickles bytes never lets a receive time out\n"
        "                raise _too_slow(peer, seconds)\n",
        new="            left = max(left, 1.0)\n",
        tests=(f"{TLS}test_a_handshake_that_trickles_ends_at_its_deadline",),
    ),
    Mutant(
        name="keep_alives_put_patience_off",
        breaks="a peer that hangs and lives is waited for without end",
        file="runtime/party/transport.py",
        old="                    if patience is not None and time.monotonic() > patience:",
        new="                    if patience is not None and patience < 0:",
        tests=(f"{TCP}test_peer_that_only_keeps_alive_exhausts_patience",),
    ),
    Mutant(
        name="an_end_is_not_noticed",
        breaks="what has not arrived is taken from memory as it happens to be",
        file="runtime/party/transport.py",
        old="            if count == 0:\n                where = (",
        new="            if count == 0:\n                return\n                where = (",
        tests=(f"{TCP}test_lost_connection",),
    ),
    Mutant(
        name="a_changed_record_is_skipped",
        breaks="bytes that were changed on the way are left out, without an error",
        file="runtime/party/tls.py",
        old="            except SSL.Error as error:\n"
        '                raise _failure("the peer", error) from error\n        return done',
        new="            except SSL.Error:\n                pass\n        return done",
        tests=(f"{TLS}test_a_changed_byte_ends_the_connection",),
    ),
    Mutant(
        name="what_comes_last_is_an_error",
        breaks="bytes changed after the goodbye make a session fail that was complete",
        file="runtime/party/transport.py",
        old="        with contextlib.suppress(OSError, NetworkFailure, UntrustedPeer):\n"
        "            self._sock.shutdown(socket.SHUT_WR)",
        new="        with contextlib.suppress(OSError):\n"
        "            self._sock.shutdown(socket.SHUT_WR)",
        tests=(f"{TCP}test_nothing_that_comes_last_keeps_a_channel_open",),
    ),
    Mutant(
        name="a_handle_stays_open",
        breaks="a channel that is closed keeps its socket",
        file="runtime/party/transport.py",
        old="            self._sock.shutdown(socket.SHUT_RDWR)\n        self._sock.close()",
        new="            self._sock.shutdown(socket.SHUT_RDWR)",
        tests=(f"{TCP}test_nothing_that_comes_last_keeps_a_channel_open",),
    ),
    Mutant(
        name="a_failure_is_a_success",
        breaks="a broken session ends with exit code 0",
        file="runtime/cli/ui.py",
        old='        say(f"error: {error}")\n        sys.exit(error.exit_code)',
        new='        say(f"error: {error}")\n        sys.exit(0)',
        tests=(SESSIONS,),
    ),
    Mutant(
        name="an_error_is_swallowed",
        breaks="results that are not complete pass for all there are",
        file="runtime/results/retry.py",
        old="                    raise\n                self._wait(error, failures)",
        new="                    break\n                self._wait(error, failures)\n"
        "        assert self.results is not None\n        return self.results",
        tests=(SESSIONS,),
    ),
    Mutant(
        name="a_child_is_not_reaped",
        breaks="each session leaves a process behind",
        file="runtime/party/server/processes.py",
        old="        code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])",
        new="        code = 0",
        tests=(SESSIONS,),
    ),
    Mutant(
        name="a_handle_is_kept_by_name",
        breaks="each session leaves a handle at the server",
        file="runtime/party/server/processes.py",
        old="    return Child(pid, Line(ours))",
        new="    os.dup(ours.fileno())\n    return Child(pid, Line(ours))",
        tests=(SESSIONS,),
    ),
    Mutant(
        name="a_signal_cuts_a_word_in_two",
        breaks="a session that ended well is counted as lost when the server stops",
        file="runtime/party/server/loop.py",
        old="        with held():",
        new="        with contextlib.nullcontext():",
        tests=(
            "tests/runtime/test_signals.py::"
            "test_a_word_that_was_taken_is_heard_before_the_server_stops",
        ),
    ),
    Mutant(
        name="a_signal_sends_a_frame_twice",
        breaks="a server that is stopped while it sends looks like one that deviates",
        file="runtime/party/transport.py",
        old="                with held():\n                    self._put_some()",
        new="                self._put_some()",
        tests=(f"{INTERRUPTED}::test_a_signal_waits_until_it_is_known_what_has_left",),
    ),
    Mutant(
        name="an_interrupt_sends_a_frame_twice",
        breaks="a failed check is counted against a client that was interrupted",
        file="runtime/party/transport.py",
        old="        except BaseException:\n            self.abort()\n            raise",
        new="        except BaseException:\n            raise",
        tests=(f"{INTERRUPTED}::test_nothing_follows_what_nobody_knows_of",),
    ),
    Mutant(
        name="an_overdue_client_gets_a_frame_twice",
        breaks="a client that took too long sees a server that deviates",
        file="runtime/party/server/limits.py",
        old="                strike(Overdue(why))",
        new="                raise Overdue(why)",
        tests=(f"{INTERRUPTED}::test_a_signal_waits_until_it_is_known_what_has_left",),
    ),
    Mutant(
        name="an_accusation_is_counted",
        breaks="a client that has caught a server loses one of its key's failed checks",
        file="runtime/party/handshake.py",
        old="        return PeerAccuses(",
        new="        return DeviatingPeer(",
        tests=("tests/attacks/test_selective_aborts.py::test_an_accusation_is_no_failed_check",),
    ),
)
