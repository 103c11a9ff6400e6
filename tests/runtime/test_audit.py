"""The audit log: every change of a line is found, a crash leaves no doubt, processes share it."""

from __future__ import annotations

import json
import multiprocessing
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moiety.protocols.errors import BadInput
from moiety.runtime.operation.audit import GENESIS, AuditLog, Head, verify
from moiety.runtime.operation.events import Begun, Image, Peer, Queue, Ready
from moiety.runtime.operation.recorder import Recorder


def written(folder: Path, lines: int) -> Path:
    log = AuditLog(folder / "audit.jsonl")
    for number in range(lines):
        log.append({"event": "test", "value": number})
    return log.path


def test_a_chain_verifies_and_says_where_it_ends(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit.jsonl")
    heads = [log.append({"event": "test"}) for _ in range(3)]
    assert verify(log.path) == heads[-1]
    assert [head.lines for head in heads] == [1, 2, 3]
    assert all(verify(log.path, head.sha256) for head in heads)
    first = json.loads(log.path.read_text().splitlines()[0])
    assert (first["number"], first["previous"]) == (1, GENESIS)
    assert first["time"].endswith("Z")
    assert log.path.stat().st_mode & 0o777 == 0o600


@settings(max_examples=40)
@given(st.data())
def test_every_change_is_found_at_its_line(data: st.DataObject) -> None:
    """One line removed, doubled, swapped with the next, or changed in one byte; the last line's
    content alone is what no later line vouches for.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = written(Path(folder), 6)
        lines = path.read_bytes().splitlines()
        at = data.draw(st.integers(0, 4))
        match data.draw(st.sampled_from(["remove", "double", "swap", "change"])):
            case "remove":
                del lines[at]
            case "double":
                lines.insert(at, lines[at])
            case "swap":
                lines[at], lines[at + 1] = lines[at + 1], lines[at]
            case "change":
                place = data.draw(st.integers(0, len(lines[at]) - 1))
                byte = lines[at][place] ^ data.draw(st.sampled_from([1, 2, 4, 8, 16]))
                lines[at] = lines[at][:place] + bytes([byte]) + lines[at][place + 1 :]
        path.write_bytes(b"\n".join(lines) + b"\n")
        with pytest.raises(BadInput, match=rf"line ({at + 1}|{at + 2})\b"):
            verify(path)


def test_missing_lines_at_the_end_need_a_noted_head(tmp_path: Path) -> None:
    path = written(tmp_path, 4)
    head = verify(path)
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:3]))
    assert verify(path).lines == 3
    with pytest.raises(BadInput, match="missing at the end"):
        verify(path, head.sha256)


@pytest.mark.parametrize("kept", [1, 9, 40, -1])
def test_a_torn_line_is_named_and_repaired(kept: int, tmp_path: Path) -> None:
    path = written(tmp_path, 3)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:2]) + lines[2][:kept])
    with pytest.raises(BadInput, match="line 3 is torn"):
        verify(path)
    assert AuditLog(path).append({"event": "test"}) == verify(path)
    repaired = json.loads(path.read_bytes().splitlines()[2])
    assert repaired["event"] == "repaired"
    assert repaired["dropped_bytes"] == len(lines[2][:kept])


def test_a_torn_first_line_is_repaired(tmp_path: Path) -> None:
    path = written(tmp_path, 1)
    path.write_bytes(path.read_bytes()[:30])
    AuditLog(path).append({"event": "test"})
    assert verify(path).lines == 2


@pytest.mark.parametrize(
    "content", [b"a letter", b"a letter\n", b"\x00\xff\n", b'{"number": "x"}\n', b"x" * 3_000_000]
)
def test_a_file_that_is_no_log_is_left_as_it_is(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "letter.txt"
    path.write_bytes(content)
    with pytest.raises(BadInput, match=r"letter\.txt"):
        AuditLog(path).append({"event": "test"})
    assert path.read_bytes() == content
    with pytest.raises(BadInput, match="line 1"):
        verify(path)


def test_what_is_no_regular_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "fifo", tmp_path, tmp_path / "none" / "audit.jsonl", Path("/dev/null")):
        with pytest.raises(BadInput, match="cannot be used as an audit log"):
            AuditLog(path).append({"event": "test"})
    with pytest.raises(BadInput, match="cannot be used as an audit log"):
        verify(tmp_path / "missing")


def test_an_empty_log_is_not_verified(tmp_path: Path) -> None:
    (tmp_path / "audit.jsonl").touch()
    with pytest.raises(BadInput, match="empty"):
        verify(tmp_path / "audit.jsonl")


def test_a_failed_write_leaves_no_half_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path, 2)
    before = path.read_bytes()
    real = os.pwrite

    def disk_full(descriptor: int, data: bytes, at: int) -> int:
        real(descriptor, data[:20], at)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", disk_full)
    with pytest.raises(BadInput, match="No space left"):
        AuditLog(path).append({"event": "test"})
    assert path.read_bytes() == before


def add_lines(path: Path) -> None:
    for _ in range(10):
        AuditLog(path).append({"event": "test", "process": os.getpid()})


def test_several_processes_make_one_chain(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    path = tmp_path / "audit.jsonl"
    processes = [context.Process(target=add_lines, args=(path,)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    assert verify(path).lines == 40


def test_a_recorder_says_who_and_what(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit.jsonl")
    recorder = Recorder(side="client", program="5f" * 32, audit=log)
    recorder.record(Ready())
    recorder.record(Queue(waiting=3))
    peer = Peer(address="10.0.0.7:7700", fingerprint="ab" * 32)
    recorder.record(Begun(peer=peer, count=1, images=(Image(file_sha256="cd" * 32),)))
    ready, begun = map(json.loads, log.path.read_text().splitlines())
    assert (ready["event"], ready["side"], ready["program"]) == ("ready", "client", "5f" * 32)
    assert begun["peer"] == {"address": "10.0.0.7:7700", "fingerprint": "ab" * 32}
    assert begun["images"] == [{"file_sha256": "cd" * 32}]
    assert verify(log.path) == Head(2, verify(log.path).sha256)


def test_a_recorder_without_a_log_is_content() -> None:
    Recorder().record(Ready())
