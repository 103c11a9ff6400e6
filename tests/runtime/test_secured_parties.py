"""The line between real processes: with keys, without them, and with what somebody has recorded."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from moiety.runtime.party.endpoints import parse_address
from moiety.runtime.party.keystore import KeyStore
from tests.support.command import ENVIRONMENT, ServerProcess, moiety, serving
from tests.support.lines import Relay, play_to_client, play_to_server, two_stores
from tests.support.runnable import save_images, save_small

ANOTHER = "belongs to another connection"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A compiled model, an image, and two sides' keys."""
    folder = tmp_path_factory.mktemp("secured")
    save_small(folder / "compiled")
    save_images(folder, 1)
    two_stores(folder)
    return folder


def arguments(place: Path, address: str, *options: object) -> tuple[object, ...]:
    files = (place / "compiled", place / "image0.npy")
    return ("infer", *files, "--connect", address, "-o", place / "r.json", *options)


def told(server: ServerProcess, words: str) -> str:
    """The server's log line that has these words, when it is there."""
    until = time.monotonic() + 20
    while time.monotonic() < until:
        for line in server.log:
            if words in line:
                return line
        time.sleep(0.05)
    raise AssertionError(f"{words!r} is not in the log:\n{''.join(server.log)}")


def test_two_sides_with_keys_and_all_others(place: Path) -> None:
    vendor, hospital = KeyStore(place / "vendor"), KeyStore(place / "hospital")
    stranger = KeyStore(place / "stranger")
    theirs = stranger.new("stranger", 5)
    stranger.trust("vendor", hospital.trusted()["vendor"])
    with serving(place / "compiled", "--keys", vendor.folder) as server:
        relay = Relay(parse_address(server.address))
        through = f"127.0.0.1:{relay.port}"
        moiety(*arguments(place, through, "--keys", hospital.folder)).check()
        relay.wait()
        assert json.loads((place / "r.json").read_text())["complete"]
        assert f"key {vendor.trusted()['hospital']} of 'hospital'" in told(server, "connected")

        def refused(address: str, *options: object) -> str:
            done = moiety(*arguments(place, address, *options))
            done.refused(9)
            return done.stderr

        said = refused(server.address, "--keys", stranger.folder)
        assert "the peer refuses: your key is not trusted there" in said
        assert f"moiety keys trust NAME {theirs}" in said
        assert f"moiety keys trust NAME {theirs}" in told(server, "is not trusted here")
        assert "this side speaks TLS only" in refused(server.address)
        told(server, "speaks without TLS")

        play_to_server(bytes(relay.up), parse_address(server.address))
        assert "cannot be decrypted" in told(server, ANOTHER)
        port, _ = play_to_client(bytes(relay.down))
        assert ANOTHER in refused(f"127.0.0.1:{port}", "--keys", hospital.folder)
        server.end().check()


@pytest.mark.parametrize("ot", ["auto", "softspoken"])
def test_recorded_bytes_over_a_plain_line(ot: str, place: Path) -> None:
    with serving(place / "compiled", "--insecure") as server:
        relay = Relay(parse_address(server.address))
        options = ("--insecure", "--ot", ot)
        moiety(*arguments(place, f"127.0.0.1:{relay.port}", *options)).check()
        relay.wait()
        play_to_server(bytes(relay.up), parse_address(server.address))
        assert "the set-up was not confirmed" in told(server, ANOTHER)
        port, _ = play_to_client(bytes(relay.down))
        moiety(*arguments(place, f"127.0.0.1:{port}", *options)).refused(9, ANOTHER)
        ended = server.end().check()
        assert "1 images for" in ended.stderr


def test_plain_tcp_beyond_the_machine_is_refused(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A user without keys reads all ways out; one with keys needs to say nothing."""
    monkeypatch.setitem(ENVIRONMENT, "XDG_CONFIG_HOME", str(tmp_path))
    compiled, ways_out = place / "compiled", ("moiety keys new", "--insecure on both sides")
    moiety("serve", compiled, "--listen", "0.0.0.0:0").refused(5, *ways_out)
    moiety(*arguments(place, "vendor.example:7700")).refused(5, *ways_out)
    moiety("serve", compiled, "--keys", tmp_path).refused(5, "no key in it; run: moiety keys new")
    moiety("keys", "new").check()
    nobody = moiety(*arguments(place, "vendor.invalid:7700"))
    nobody.refused(8, "cannot find the machine 'vendor.invalid'")
