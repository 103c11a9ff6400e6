"""A store's ledger: what was changed is refused, what was torn stands for nothing."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from moiety.protocols.errors import BadArtifact, BadInput, ContractViolation
from moiety.runtime.store.ledger import LAST_INDEX, Book, Burned, Impossible, Ledger, Prepared, Used
from tests.support.stores import Pair, digest_of, fill, meet

AGAIN = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Pair, bytes]:
    """Every kind of record, and what the client's ledger came to."""
    pair = Pair(tmp_path_factory.mktemp("pair"))
    pair.create()
    with pair.both() as (client, server):
        for index in range(4):
            fill(client, index)
            fill(server, index)
        meet(client, server)
        client.take(1).close()
        client.burn((3,), "damaged")
        return pair, (client.folder / "ledger").read_bytes()


def laid(written: tuple[Pair, bytes], data: bytes) -> Ledger:
    pair, _ = written
    folder = pair.folder("client")
    (folder / "ledger").write_bytes(data)
    found = Ledger.open(folder, pair.key("client"))
    found.close()
    return found


def test_the_ledger_says_what_became_of_each_item(written: tuple[Pair, bytes]) -> None:
    found = laid(written, written[1])
    assert found.counter == written[1].count(b"\n") == 9
    book = found.book
    assert (list(book.items), book.next, book.fresh, book.used, book.burned) == ([2], 2, 4, 1, 2)
    assert book.items[2].digest == digest_of(2).hex()
    assert found.book.met is not None


@AGAIN
@given(st.data())
def test_any_bit_is_noticed(written: tuple[Pair, bytes], data: st.DataObject) -> None:
    bit = data.draw(st.integers(0, 8 * len(written[1]) - 1))
    changed = bytearray(written[1])
    changed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(BadArtifact, match=r"ledger: line .* is damaged"):
        laid(written, bytes(changed))


@AGAIN
@given(st.data())
def test_lines_that_are_removed_doubled_or_moved_are_noticed(
    written: tuple[Pair, bytes], data: st.DataObject
) -> None:
    lines = written[1].splitlines(keepends=True)
    first, second = data.draw(
        st.tuples(*[st.integers(0, len(lines) - 1)] * 2).filter(lambda two: two[0] != two[1])
    )
    changed = list(lines)
    match data.draw(st.sampled_from(["removed", "doubled", "swapped"])):
        case "removed":
            del changed[min(first, second)]  # never the last
        case "doubled":
            changed.insert(second, lines[first])
        case "swapped":
            changed[first], changed[second] = changed[second], changed[first]
    with pytest.raises(BadArtifact, match=r"ledger: line .* is damaged"):
        laid(written, b"".join(changed))


@AGAIN
@given(st.data())
def test_a_cut_leaves_the_records_before_it(
    written: tuple[Pair, bytes], data: st.DataObject
) -> None:
    """The one that it goes through stands for nothing, and its rest is taken away. That records are
    missing shows when the parties meet (test_store_positions.py).
    """
    whole = written[1]
    begin = whole.index(b"\n") + 1
    cut = whole[: data.draw(st.integers(begin, len(whole)))]
    found = laid(written, cut)
    kept = cut[: cut.rindex(b"\n") + 1]
    assert found.counter == kept.count(b"\n")
    assert found.path.read_bytes() == kept


def test_an_end_of_a_line_that_was_changed_is_no_torn_line(written: tuple[Pair, bytes]) -> None:
    for bit in range(8):
        changed = written[1][:-1] + bytes([ord("\n") ^ 1 << bit])
        with pytest.raises(BadArtifact, match="line 9 is damaged: its end"):
            laid(written, changed)


def test_a_cut_in_the_first_line_is_noticed(written: tuple[Pair, bytes]) -> None:
    for size in (0, 30, 64, 65, 200, written[1].index(b"\n")):
        with pytest.raises(BadArtifact, match="line 1 is damaged"):
            laid(written, written[1][:size])


def test_records_go_on_after_a_torn_one(written: tuple[Pair, bytes]) -> None:
    pair, whole = written
    laid(written, whole[:-5])
    ledger = Ledger.open(pair.folder("client"), pair.key("client"))
    ledger.append(Burned(index=3, count=1, why="damaged"))
    ledger.close()
    assert Ledger.look(pair.folder("client"), pair.key("client")).counter == 9


def test_who_looks_changes_nothing(written: tuple[Pair, bytes]) -> None:
    pair, whole = written
    laid(written, whole)
    path = pair.folder("client") / "ledger"
    path.write_bytes(whole[:-5])
    Ledger.look(pair.folder("client"), pair.key("client")).close()
    assert path.read_bytes() == whole[:-5]


def prepared(index: int) -> Prepared:
    return Prepared(index=index, digest="", salt="", size=1, time=0)


@pytest.mark.parametrize(
    "wrong",
    [
        prepared(4),
        prepared(LAST_INDEX + 1),
        Used(indices=()),
        Used(indices=(1,)),
        Used(indices=(4, 2)),
        Used(indices=(2, 2)),
        Used(indices=(4,)),
        Used(indices=(5,)),
        Burned(index=-1, count=9, why="skipped"),
        Burned(index=2, count=0, why="skipped"),
        Burned(index=2, count=LAST_INDEX, why="skipped"),
    ],
    ids=str,
)
def test_a_record_follows_those_before_it(wrong: Prepared | Used | Burned) -> None:
    """Of items 1 to 4 the first was used; 4 can be used once 2 and 3 are given up."""
    book = Book()
    for index in range(1, 5):
        book.take(prepared(index))
    book.take(Used(indices=(1,)))
    with pytest.raises(Impossible):
        book.take(wrong)


def test_nothing_impossible_is_written(written: tuple[Pair, bytes]) -> None:
    pair, whole = written
    laid(written, whole)
    ledger = Ledger.open(pair.folder("client"), pair.key("client"))
    with pytest.raises(ContractViolation, match="cannot follow"):
        ledger.append(Used(indices=(2,)), Used(indices=(2,)))
    ledger.close()
    assert ledger.path.read_bytes() == whole


def test_what_a_full_disk_took_is_taken_away(
    written: tuple[Pair, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also whole records, if one with them was not: a shorter one that comes next ends the file."""
    pair, whole = written
    laid(written, whole)
    ledger, real = Ledger.open(pair.folder("client"), pair.key("client")), os.pwrite

    def pwrite(descriptor: int, data: bytes, at: int) -> int:
        if len(data) < 300:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(descriptor, data[:-5], at)

    gone = [Burned(index=index, count=1, why="damaged") for index in range(4)]
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", pwrite)
        with pytest.raises(BadInput, match="No space left"):
            ledger.append(*gone)
    assert ledger.path.read_bytes() == whole
    ledger.append(gone[0])
    ledger.close()
    assert Ledger.look(pair.folder("client"), pair.key("client")).counter == 10


def test_a_ledger_that_cannot_be_cut_is_written_no_more(
    written: tuple[Pair, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is behind its end is not known, so nothing is put there."""
    pair, whole = written
    laid(written, whole)
    ledger = Ledger.open(pair.folder("client"), pair.key("client"))

    def fail(*arguments: object) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(BadInput, match="Input/output error"):
            ledger.append(Used(indices=(2,)))
    with pytest.raises(BadInput, match="Bad file descriptor"):
        ledger.append(Used(indices=(2,)))


def test_a_link_is_no_ledger(tmp_path: Path) -> None:
    pair = Pair(tmp_path)
    pair.create()
    path = pair.folder("client") / "ledger"
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BadInput, match="cannot be used as a store's ledger"):
        pair.open("client")
