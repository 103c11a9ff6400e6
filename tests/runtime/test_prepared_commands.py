"""`moiety prepare`, `moiety infer` and `moiety store` with a server that keeps stores, as their
users meet them: what is said, exit codes, restored backups, a disk that is full.
"""

from __future__ import annotations

import json
import re
import resource
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from moiety.runtime.cost.memory import preparing_memory
from moiety.runtime.party.executor import ServerExecutor
from moiety.runtime.program.artifacts import file_name
from moiety.runtime.program.bounds import VARIABLE
from tests.support.ahead import Ahead
from tests.support.command import Done, moiety, serving
from tests.support.runnable import save, save_images, small
from tests.support.serving import Running
from tests.support.stores import NAMES, Name

ITEM = 16 << 10
"""More than the ledger and the log of these tests, less than an item of a batch."""


@pytest.fixture
def ahead(tmp_path: Path) -> Iterator[Ahead]:
    executor = ServerExecutor(*small(), batches=(1, 2))
    executor.prepare()
    made = Ahead(tmp_path, executor)
    yield made
    made.end()


def prepare(ahead: Ahead, server: Running, count: int = 2, *options: object) -> Done:
    at = f"127.0.0.1:{server.listener.port}"
    return ahead.command("prepare", "--connect", at, "--count", count, *options)


def infer(ahead: Ahead, server: Running, count: int = 1, *options: object) -> Done:
    images = save_images(ahead.folder / "images", 4)[:count]
    at = f"127.0.0.1:{server.listener.port}"
    output = ("-o", ahead.folder / "results.json", "--retries", 0)
    return ahead.command("infer", *images, "--connect", at, *output, *options)


def lines(done: Done, word: str) -> list[str]:
    return [line for line in done.check().stderr.splitlines() if word in line]


# --- what is said ---------------------------------------------------------------------------------


def test_what_the_commands_say(ahead: Ahead) -> None:
    server = ahead.serve()
    assert lines(infer(ahead, server), "on demand") == [
        f"nothing is prepared in {ahead.cellar('client').root}: computing on demand "
        "(moiety prepare)"
    ]
    said = lines(prepare(ahead, server, 3), "prepared 3, each for a run of 1 image, in ")
    assert re.search(r" received, beside \d+\.\d s and \d+\.\d\d MB of set-up; 3 can", said[0])
    done = prepare(ahead, server, 1, "--json").check()
    assert "3 prepared before are there" in done.stderr
    took = json.loads(done.stderr.splitlines()[-1])
    assert (took["items"], took["images"], took["usable"]) == (1, 1, 4)
    assert took["setup_bytes"] > 1000
    assert took["setup_seconds"] > 0
    assert lines(infer(ahead, server, 3), "prepared") == ["prepared: 4 runs of 1 image"]
    assert lines(infer(ahead, server, 2), "prepared") == [
        "prepared: 1 run of 1 image",
        "what was prepared for runs of 1 image is used up: computing on demand from here on "
        "(moiety prepare)",
    ]
    assert lines(infer(ahead, server), "prepared") == [
        "nothing is prepared with this server: computing on demand (moiety prepare)"
    ]
    assert lines(infer(ahead, server, 1, "--keep", 2), "prepared")[1:] == [
        "prepared 2; 2 can be used"
    ]
    assert not lines(infer(ahead, server, 1, "--on-demand"), "prepared")


def test_a_store_is_filled_up_to_a_number(ahead: Ahead) -> None:
    """What runs every night makes what was used, and nothing where nothing was."""
    at = f"127.0.0.1:{ahead.serve().listener.port}"

    def kept(most: int) -> tuple[int, int]:
        done = ahead.command("prepare", "--connect", at, "--keep", most, "--json").check()
        took = json.loads(done.stderr.splitlines()[-1])
        return took["items"], took["usable"]

    assert [kept(2), kept(2), kept(3), kept(1)] == [(2, 2), (0, 2), (1, 3), (0, 3)]
    enough = ahead.command("prepare", "--connect", at, "--keep", 3)
    assert lines(enough, "missing") == ["nothing is missing: 3 can be used"]
    both = ahead.command("prepare", "--connect", at, "--keep", 2, "--count", 1)
    both.refused(5, "--count says how many items are made, and --keep how many there are then")


def test_what_is_kept_after_a_run_on_demand(ahead: Ahead) -> None:
    """--on-demand is about what is taken, and --keep about what is there afterwards."""
    server = ahead.serve()
    for keep, said in ((2, "prepared 2; 2 can be used"), (3, "prepared 1; 3 can be used")):
        done = infer(ahead, server, 1, "--on-demand", "--keep", keep)
        assert lines(done, "prepared") == [said]
        results = json.loads((ahead.folder / "results.json").read_text())
        assert [image["prepared_item"] for image in results["images"]] == [None]


def test_items_that_are_skipped_are_given_up(ahead: Ahead) -> None:
    """What is said to be there is there, the next time, too."""
    server = ahead.serve()
    prepare(ahead, server, 3).check()
    done = prepare(ahead, server, 1, "--skip-to", 2)
    assert lines(done, "--skip-to") == ["--skip-to 2: 2 items for runs of 1 image given up"]
    assert done.stderr.strip().endswith("; 2 can be used")
    for role in NAMES:
        root, keys = ahead.cellar(role).root, ahead.keys(role)
        (found,) = json.loads(moiety("store", "status", root, "--keys", keys, "--json").stdout)
        assert (found["prepared"], found["burned"]) == (2, 2)
    done = infer(ahead, server, 1, "--skip-to", 1000)
    assert lines(done, "--skip-to") == [
        "--skip-to 1000: 2 items for runs of 1 image given up",
        "nothing is prepared with this server: computing on demand (--skip-to 1000 leaves none)",
    ]
    assert "are there" not in prepare(ahead, server, 1).check().stderr


def test_options_that_contradict_are_refused(ahead: Ahead) -> None:
    """And nothing is given up, nor skipped in silence."""
    server = ahead.serve()
    prepare(ahead, server, 2).check()
    prepare(ahead, server, 1, "--anew", "--skip-to", 1).refused(5, "--anew gives up all")
    infer(ahead, server, 1, "--on-demand", "--skip-to", 1).refused(5, "--skip-to skips nothing")
    done = infer(ahead, server, 1, "--on-demand", "--skip-to", 1, "--keep", 1)
    assert lines(done, "--skip-to") == ["--skip-to 1: 1 item for runs of 1 image given up"]


def test_store_status_after_use(ahead: Ahead) -> None:
    server = ahead.serve()
    prepare(ahead, server, 3).check()
    infer(ahead, server, 2).check()
    for role in NAMES:
        root = ahead.cellar(role).root
        done = moiety("store", "status", root, "--keys", ahead.keys(role), "--json").check()
        (found,) = json.loads(done.stdout)
        assert (found["role"], found["prepared"], found["used"], found["next"]) == (role, 1, 2, 2)
        moiety("store", "verify", root, "--keys", ahead.keys(role)).check()


def test_a_server_that_prepares_nothing(ahead: Ahead) -> None:
    server = ahead.serve(offers=False)
    prepare(ahead, server).refused(10, "the server: this server prepares nothing ahead")
    done = infer(ahead, server, 1, "--keep", 2).check()
    assert "warning: --keep 2: the server: this server prepares nothing ahead" in done.stderr


def test_a_size_that_the_server_does_not_run(ahead: Ahead) -> None:
    prepare(ahead, ahead.serve(), 1, "--batch", 5).refused(
        5, "the server runs images one by one, or 2 together; its vendor", "moiety serve --batch 5"
    )


def test_what_takes_too_much_memory_gives_nothing_up(
    ahead: Ahead, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = ahead.serve()
    prepare(ahead, server, 1).check()
    monkeypatch.setenv(VARIABLE, str(preparing_memory(ahead.program) - 1))
    prepare(ahead, server, 1, "--anew").refused(6, "preparing an image's run of the Program")
    monkeypatch.undo()
    assert lines(infer(ahead, server), "prepared") == ["prepared: 1 run of 1 image"]


def test_a_folder_that_cannot_be_used_costs_neither_side_what_it_has(ahead: Ahead) -> None:
    """A mistyped --store, or a server that was started with another --prepared."""
    server = ahead.serve()
    prepare(ahead, server, 3).check()
    file, at = ahead.folder / "file", f"127.0.0.1:{server.listener.port}"
    file.write_text("")
    public = ahead.folder / file_name(ahead.program)
    common = ("--keys", ahead.keys("client"), "--ot", "softspoken", "--insecure", "--connect", at)
    for store, code, words in (
        (file, 5, "file: prepared items lie in a folder, and this is none"),
        (file / "under", 5, "cannot be used as a store: a file is in the way"),
        (Path("/proc/nope"), 5, "cannot be used as a store"),
        (ahead.folder / "other", 10, "it has 3 items prepared with another store of this client"),
    ):
        moiety("prepare", public, "--store", store, *common).refused(code, words)
    ahead.cellar("server").root.rename(ahead.folder / "kept")
    prepare(ahead, server).refused(10, "where 3 can be used: it may have been started with another")
    shutil.rmtree(ahead.cellar("server").root, ignore_errors=True)
    (ahead.folder / "kept").rename(ahead.cellar("server").root)
    assert lines(infer(ahead, server), "prepared") == ["prepared: 3 runs of 1 image"]
    assert "2 prepared before are there" in prepare(ahead, server, 1).check().stderr
    done = prepare(ahead, server, 1, "--anew").check()
    assert done.stderr.strip().endswith("; 1 can be used")


def test_a_store_that_another_process_has_is_refused(ahead: Ahead) -> None:
    server = ahead.serve(options={"sessions": 2})
    with ahead.met(server):
        prepare(ahead, server).refused(5, "has this store open, and it is used by one at a time")
        infer(ahead, server).refused(5, "has this store open")


def test_the_command_of_the_server(ahead: Ahead) -> None:
    """The options reach it, and a server that computes nothing has no stores."""
    compiled = ahead.folder / "compiled"
    save(compiled, ahead.program, ahead.executor.weights)
    moiety("serve", compiled, "--prepared", ahead.folder / "v", "--cluster", "1").refused(
        5, "--prepared is of a server that computes itself"
    )
    (ahead.folder / "f").write_text("")
    moiety("serve", compiled, "--prepared", ahead.folder / "f").refused(5, "a file is in the way")
    options = ("--prepared", ahead.folder / "v", "--prepared-items", 1, "--no-audit")
    with serving(compiled, *options, "--keys", ahead.keys("server"), "--insecure") as server:
        done = ahead.command("prepare", "--connect", server.address, "--count", 2)
        done.refused(10, "the server prepares no item: it has no room for another item")
        assert "1 of 2 were prepared, and can be used" in done.stderr


# --- copies ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("who", NAMES)
def test_a_restored_backup_is_refused_by_both(ahead: Ahead, who: Name) -> None:
    server = ahead.serve()
    prepare(ahead, server, 3).check()
    (store,) = ahead.stores(who)
    shutil.copytree(store, ahead.folder / "backup")
    infer(ahead, server).check()
    shutil.rmtree(store)
    shutil.copytree(ahead.folder / "backup", store)
    code, words = (6, "this store is an older copy") if who == "client" else (7, "older copy")
    for command in (infer, prepare):
        done = command(ahead, server)
        done.refused(code, words, "`moiety prepare --anew` gives up both sides' stores")
    server.wait_for("is an older copy", 2)
    infer(ahead, server, 1, "--on-demand").check()
    for role in NAMES:
        shutil.rmtree(ahead.cellar(role).root)
    prepare(ahead, server, 1).check()
    assert lines(infer(ahead, server), "prepared") == ["prepared: 1 run of 1 image"]


@pytest.mark.parametrize("who", NAMES)
def test_a_damaged_item_costs_one_run(ahead: Ahead, who: Name) -> None:
    """It is lost at both, which go on with the next one, in the same command where it may connect
    again. Else the command says which it was.
    """
    server = ahead.serve()
    prepare(ahead, server, 4).check()
    for index in (0, 1):
        damage(ahead, who, index)
    code, words = {
        "client": (6, "item-000000000000000: prepared item 0 is damaged: chunk 0 of"),
        "server": (8, "prepared item 0 cannot be used at the server, and is lost"),
    }[who]
    infer(ahead, server).refused(code, words)
    done = infer(ahead, server, 2, "--retries", 1).check()
    again = words.replace("item 0", "item 1").replace("000:", "001:")
    assert lines(done, "trying again")[0].startswith("warning: ")
    assert again in lines(done, "trying again")[0]
    assert lines(done, "prepared: ") == [
        "prepared: 3 runs of 1 image",
        "prepared: 2 runs of 1 image",
    ]
    results = json.loads((ahead.folder / "results.json").read_text())
    assert [image["prepared_item"] for image in results["images"]] == [2, 3]
    if who == "server":
        server.wait_for("item-000000000000000: prepared item 0 is damaged")


def damage(ahead: Ahead, who: Name, index: int) -> None:
    (store,) = ahead.stores(who)
    data = bytearray((item := store / f"item-{index:015}").read_bytes())
    data[100] ^= 1
    item.write_bytes(data)


# --- a full disk ----------------------------------------------------------------------------------


@pytest.mark.parametrize("who", NAMES)
def test_a_disk_that_fills_up_loses_the_item_being_written_alone(ahead: Ahead, who: Name) -> None:
    """The second item does not fit: it is larger than files of that party may get."""
    server = ahead.serve()
    prepare(ahead, server, 2).check()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    if who == "server":
        resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (ITEM, ITEM))
    else:
        resource.setrlimit(resource.RLIMIT_FSIZE, (ITEM, before[1]))
    try:
        done = prepare(ahead, server, 2, "--batch", 2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    if who == "server":
        done.refused(10, "the server could not keep what was being prepared")
        server.wait_for("item 0 is lost: .*File too large")
    else:
        done.refused(5, "File too large")
    assert "0 of 2 were prepared" in done.stderr
    assert not [each for role in NAMES for each in ahead.cellar(role).root.glob("*/.item-*")]
    assert lines(infer(ahead, server, 2), "prepared") == ["prepared: 2 runs of 1 image"]
