"""What each party does with prepared items, written down outside of their stores: hooks that every
process forked off this one has.

    taken LINEAGE INDEX PID DIGEST              an item's use is on the disk
    read LINEAGE INDEX PID NAME CHUNK SHA-256   a chunk was decrypted; nobody has seen it yet
    unmarked - INDEX PID -                      one was decrypted of an item that was not taken
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from moiety.runtime.party.prepared import MADE_FOR
from moiety.runtime.store.item import ItemReader
from moiety.runtime.store.store import Store
from tests.support.stores import NAMES, Name

SHORT = 16
"""Bytes of which two items may have the same by chance."""


@dataclass(frozen=True)
class Ledger:
    """Of both parties, in a folder."""

    folder: Path

    @contextmanager
    def written(self) -> Iterator[None]:
        """While processes are forked that it is to hear of; nothing of this process."""
        own, marked = os.getpid(), {}
        honest_take, honest_open = Store.take_all, ItemReader.opened

        def take_all(store: Store, indices: Sequence[int]) -> list[ItemReader]:
            found = honest_take(store, indices)
            binding = store.binding
            for reader in found:
                marked[id(reader)] = (reader, binding.role, binding.lineage)
                said = (binding.lineage, reader.index, os.getpid(), reader.digest.hex())
                self._say(binding.role, "taken", *said)
            return found

        def opened(reader: ItemReader, stream: int, name: str, chunk: int, *where: Any) -> bytes:
            found = honest_open(reader, stream, name, chunk, *where)
            if os.getpid() == own:
                return found
            if id(reader) not in marked:
                self._say("client", "unmarked", "-", reader.index, os.getpid(), "-")
                return found
            _, role, lineage = marked[id(reader)]
            if name and name != MADE_FOR and len(found) >= SHORT:  # that is alike in all items
                digest = hashlib.sha256(found).hexdigest()
                said = (lineage, reader.index, os.getpid(), name, chunk, digest)
                self._say(role, "read", *said)
            return found

        with (
            mock.patch.object(Store, "take_all", take_all),
            mock.patch.object(ItemReader, "opened", opened),
        ):
            yield

    def _say(self, role: Name, *words: object) -> None:
        descriptor = os.open(self.folder / role, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.write(descriptor, (" ".join(map(str, words)) + "\n").encode())
        os.close(descriptor)

    def _said(self, role: Name) -> list[list[str]]:
        path = self.folder / role
        return [line.split() for line in path.read_text().splitlines()] if path.exists() else []

    def taken(self, role: Name) -> dict[tuple[str, str], str]:
        """(lineage, index) -> digest, of all that a party has taken."""
        return {(each[1], each[2]): each[4] for each in self._said(role) if each[0] == "taken"}

    def read(self, role: Name) -> set[tuple[str, str]]:
        """Those of which it has read something."""
        return {(each[1], each[2]) for each in self._said(role) if each[0] == "read"}

    def faults(self) -> list[str]:
        """All that should not be."""
        found = []
        for role in NAMES:
            said = self._said(role)
            counts = Counter((each[1], each[2]) for each in said if each[0] == "taken")
            found += [f"{role}: item {i} taken {n} times" for (_, i), n in counts.items() if n > 1]
            found += [
                f"{role}: item {each[2]} read and not taken"
                for each in said
                if each[0] == "unmarked"
            ]
            users = defaultdict(set)
            for each in said:
                if each[0] == "read":
                    users[each[6]].add(tuple(each[1:4]))
            found += [
                f"{role}: the same bytes read by {sorted(by)}"
                for by in users.values()
                if len(by) > 1
            ]
        client, server = self.taken("client"), self.taken("server")
        both = client.keys() & server.keys()
        found += [f"item {it[1]} differs at the two" for it in both if client[it] != server[it]]
        found += [
            f"the server read item {index}, which the client has not taken"
            for _, index in self.read("server") - client.keys()
        ]
        return found
