"""Fingerprints as people type them, the folder of keys, and `moiety keys`."""

from __future__ import annotations

import base64
import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moiety.protocols.errors import BadInput, UntrustedPeer
from moiety.runtime.operation.fingerprint import Fingerprint
from moiety.runtime.party.certificates import certificate_bytes, fingerprint
from moiety.runtime.party.credentials import Credentials, Shown
from moiety.runtime.party.keystore import KeyStore, default_store
from moiety.runtime.party.tls import TlsStream
from tests.support.command import ENVIRONMENT, moiety
from tests.support.lines import joined, two_credentials

SYNCTHING = "P56IOI7-MZJNU2Y-IQGDREY-DM2MGTI-MGL3BXN-PQ6W5BM-TBBZ4TJ-XZWICQ2"
"""From the tests of Syncthing's device IDs, and the same without its check characters."""
UNCHECKED = "P56IOI7MZJNU2IQGDREYDM2MGTMGL3BXNPQ6W5BTBBZ4TJXZWICQ"
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"


def test_fingerprints_are_syncthings() -> None:
    known = Fingerprint(base64.b32decode(UNCHECKED + "===="))
    assert str(known) == SYNCTHING
    for typed in (
        SYNCTHING,
        SYNCTHING.lower(),
        SYNCTHING.replace("-", " "),
        f" {SYNCTHING.replace('-', '')}\n",
        SYNCTHING.replace("O", "0").replace("I", "1").replace("B", "8"),
    ):
        assert Fingerprint.parse(typed) == known


@given(st.binary(min_size=32, max_size=32))
def test_every_fingerprint_can_be_typed(digest: bytes) -> None:
    made = Fingerprint(digest)
    assert Fingerprint.parse(str(made)) == made
    assert [len(group) for group in str(made).split("-")] == [7] * 8


@given(st.binary(min_size=32, max_size=32), st.integers(0, 55), st.integers(1, 31))
def test_a_wrong_character_is_refused_by_its_groups(digest: bytes, at: int, by: int) -> None:
    letters = list(str(Fingerprint(digest)).replace("-", ""))
    letters[at] = ALPHABET[(ALPHABET.index(letters[at]) + by) % 32]
    group = at // 14 * 2 + 1
    with pytest.raises(BadInput, match=f"wrong, in group {group} or {group + 1},"):
        Fingerprint.parse("".join(letters))


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("", "it has 0 characters"),
        (SYNCTHING[:-1], "it has 55 characters"),
        (SYNCTHING + "A", "it has 57 characters"),
        (SYNCTHING.replace("P", "9"), "it has '9'"),
        ("ab" * 31, "it has 62 characters"),
    ],
)
def test_what_is_no_fingerprint_is_refused(typed: str, words: str) -> None:
    with pytest.raises(BadInput, match=words):
        Fingerprint.parse(typed)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_key_is_its_owners_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        store = KeyStore(tmp_path / "a" / "keys")
        made = store.new("name", 5)
        store.trust("peer", made)
    finally:
        os.umask(before)
    assert mode(store.folder) == mode(store.folder / "trusted") == 0o700
    assert mode(store.key_file) == 0o600
    key, certificate = store.own()
    assert fingerprint(certificate) == made
    assert certificate.public_key() == key.public_key()
    assert {file.name for file in store.folder.iterdir()} == {
        "certificate.pem",
        "key.pem",
        "trusted",
    }


def test_a_key_is_not_replaced_in_passing(tmp_path: Path) -> None:
    store = KeyStore(tmp_path / "keys")
    first = store.new("name", 5)
    with pytest.raises(BadInput, match="there is a key already"):
        store.new("name", 5)
    assert fingerprint(store.own()[1]) == first
    assert store.new("name", 5, replace=True) != first


@pytest.mark.parametrize("open_to", [0o040, 0o004, 0o020])
@pytest.mark.parametrize("what", ["key.pem", "."])
def test_a_key_that_others_may_read_is_refused(open_to: int, what: str, tmp_path: Path) -> None:
    store = KeyStore(tmp_path / "keys")
    store.new("name", 5)
    place = store.folder / what
    place.chmod(mode(place) | open_to)
    with pytest.raises(BadInput, match=r"others may use it.*run: chmod [67]00"):
        Credentials.of_store(store.folder)


def test_damaged_stores_are_refused_with_what_to_do(tmp_path: Path) -> None:
    store = KeyStore(tmp_path / "keys")
    with pytest.raises(BadInput, match="no key in it; run: moiety keys new"):
        Credentials.of_store(store.folder)
    store.new("name", 5)
    other = KeyStore(tmp_path / "other")
    other.new("name", 5)
    store.certificate_file.write_bytes(certificate_bytes(other.own()[1]))
    with pytest.raises(BadInput, match=r"certificate\.pem: this certificate is not of"):
        Credentials.of_store(store.folder)
    store.key_file.write_bytes(b"garbage")
    with pytest.raises(BadInput, match=r"key\.pem: no private key"):
        Credentials.of_store(store.folder)
    store.trust("peer", Fingerprint(bytes(32)))
    (store.folder / "trusted" / "peer").write_text(SYNCTHING.replace("P5", "PA"))
    with pytest.raises(BadInput, match=r"trusted/peer: no fingerprint in it"):
        store.trusted()


def test_names_and_keys_of_peers_are_one_to_one(tmp_path: Path) -> None:
    store = KeyStore(tmp_path / "keys")
    first, second = Fingerprint(bytes(32)), Fingerprint(b"\1" * 32)
    store.trust("b", first)
    store.trust("b", first)
    store.trust("a", second)
    assert list(store.trusted().items()) == [("a", second), ("b", first)]
    with pytest.raises(BadInput, match=f"'b' is trusted with another key, {first}"):
        store.trust("b", Fingerprint(b"\2" * 32))
    with pytest.raises(BadInput, match="trusted already, as 'b'"):
        store.trust("c", first)
    assert store.remove("b") == first
    with pytest.raises(BadInput, match=r"'b' is not trusted; .* knows a"):
        store.remove("b")
    for name in ("", "../a", ".hidden", "a/b", "x" * 65, "ä"):
        with pytest.raises(BadInput, match="is not a name for a peer"):
            store.trust(name, Fingerprint(b"\3" * 32))


def test_the_default_store_is_in_the_users_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert default_store() == tmp_path / "moiety" / "keys"


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From two new keys to trust, by fingerprint and by file."""
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    made = moiety("keys", "new", "--keys", theirs).check().stdout.strip()
    monkeypatch.setitem(ENVIRONMENT, "MOIETY_KEYS", str(ours))
    moiety("keys", "show").refused(5, "no key in it; run: moiety keys new")
    own = moiety("keys", "new").check().stdout.strip()
    assert moiety("keys", "show").check().stdout.strip() == own != made
    assert moiety("keys", "trust", "vendor", made).check().stdout.strip() == made
    assert moiety("keys", "list").check().stdout == f"{made}  vendor\n"
    moiety("keys", "remove", "vendor").check()
    wrong = ("B" if made[0] != "B" else "C") + made[1:]
    moiety("keys", "trust", "vendor", wrong).refused(5, "wrong, in group 1 or 2")
    pem = tmp_path / "vendor.pem"
    pem.write_text(moiety("keys", "show", "--pem", "--keys", theirs).check().stdout)
    said = moiety("keys", "trust", "vendor", pem).check()
    assert "compare this fingerprint" in said.stderr
    assert moiety("keys", "list").check().stdout == f"{made}  vendor\n"


# --- whom a connection believes ----------------------------------------------------------------


def test_a_key_that_is_almost_a_trusted_one_is_not(tmp_path: Path) -> None:
    """Fingerprints are compared to their last byte."""
    vendor, hospital = two_credentials(tmp_path)
    digest = vendor.own.digest
    for known in (digest[:-1] + bytes([digest[-1] ^ 1]), bytes([digest[0] ^ 1]) + digest[1:]):
        alone = hospital.only(Fingerprint(known), "vendor")
        with pytest.raises(UntrustedPeer, match="is not trusted here"):
            alone.judge(Shown(vendor.chain[0], ""), "server")
    assert hospital.only(vendor.own, "vendor").judge(Shown(vendor.chain[0], ""), "s") == "vendor"


def test_the_best_suite_alone_is_first(tmp_path: Path) -> None:
    vendor, hospital = two_credentials(tmp_path)
    server, client = joined(vendor, hospital)
    for channel in (server, client):
        assert isinstance(channel._sock, TlsStream)
        tls = channel._sock._tls
        assert tls.get_cipher_name() == "TLS_AES_128_GCM_SHA256"
        assert tls.get_protocol_version_name() == "TLSv1.3"
        channel.abort()
