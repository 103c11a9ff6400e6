"""Where results go: what is replaced, what is written through, and what is refused before work."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from moiety.protocols.errors import BadInput
from moiety.runtime.results import targets
from moiety.runtime.results.outputs import Format, Outputs, open_outputs
from moiety.runtime.results.targets import Stream, open_target
from tests.support.results import an_image, read_back, some_results
from tests.support.runnable import small


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def write(name: str | Path, data: bytes = b"results") -> None:
    open_target(str(name)).write(data)


def refusal(name: str | Path) -> str:
    with pytest.raises(BadInput) as caught:
        open_target(str(name))
    assert caught.value.exit_code == 5
    return str(caught.value)


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    os.mkfifo(tmp_path / "pipe")
    return tmp_path / "pipe"


class TestFiles:
    def test_are_the_owners_alone_from_the_first_byte(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        modes: list[int] = []
        write_bytes = Path.write_bytes

        def watched(path: Path, data: bytes) -> int:
            modes.append(mode_of(path))
            return write_bytes(path, data)

        monkeypatch.setattr(Path, "write_bytes", watched)
        old = os.umask(0)
        try:
            write(tmp_path / "r.json")
        finally:
            os.umask(old)
        assert set(modes) == {0o600}
        assert mode_of(tmp_path / "r.json") == 0o600

    def test_an_open_file_is_not_torn(self, tmp_path: Path) -> None:
        """Replaced, not rewritten: who has the old one open reads it to its end."""
        path = tmp_path / "r.json"
        path.write_bytes(b"old")
        path.chmod(0o644)
        with path.open("rb") as old:
            write(path, b"new")
            assert old.read() == b"old"
        assert path.read_bytes() == b"new"
        assert mode_of(path) == 0o600
        assert [p.name for p in tmp_path.iterdir()] == ["r.json"]

    def test_nothing_changes_before_there_are_results(self, tmp_path: Path) -> None:
        (tmp_path / "old.json").write_bytes(b"old")
        open_target(str(tmp_path / "old.json"))
        open_target(str(tmp_path / "new.json"))
        assert [p.name for p in tmp_path.iterdir()] == ["old.json"]
        assert (tmp_path / "old.json").read_bytes() == b"old"

    def test_links_are_followed_and_stay(self, tmp_path: Path) -> None:
        (tmp_path / "deep").mkdir()
        target = tmp_path / "deep" / "real.json"
        target.write_bytes(b"old")
        (tmp_path / "one").symlink_to("deep/real.json")
        (tmp_path / "two").symlink_to(tmp_path / "one")
        write(tmp_path / "two", b"new")
        assert target.read_bytes() == b"new"
        assert (tmp_path / "two").is_symlink()
        assert (tmp_path / "one").is_symlink()

    def test_a_dangling_link_makes_its_target(self, tmp_path: Path) -> None:
        (tmp_path / "link").symlink_to("there.json")
        write(tmp_path / "link")
        assert (tmp_path / "there.json").read_bytes() == b"results"
        assert (tmp_path / "link").is_symlink()

    def test_what_cannot_be_written_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "r.json"
        path.write_bytes(b"old")
        path.chmod(0o444)
        assert "it is read-only" in refusal(path)  # root's rights do not count
        (tmp_path / "link").symlink_to(path)
        assert "it is read-only" in refusal(tmp_path / "link")
        assert f"there is no folder {tmp_path / 'no'}" in refusal(tmp_path / "no" / "r.json")
        assert "there is no folder" in refusal(path / "r.json")  # below a file
        assert "it is a folder" in refusal(tmp_path)
        assert "name too long" in refusal(tmp_path / ("x" * 254))
        assert "null" in refusal("a\0b")
        (tmp_path / "loop").symlink_to("loop")
        assert "Too many levels" in refusal(tmp_path / "loop")

    def test_a_socket_and_a_disk_are_refused(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with socket.socket(socket.AF_UNIX) as bound:
            monkeypatch.chdir(tmp_path)  # the address is short
            bound.bind("socket")
            assert "neither a file" in refusal(tmp_path / "socket")
        monkeypatch.setattr(stat, "S_ISREG", lambda mode: False)  # as a block device would be
        (tmp_path / "disk").write_bytes(b"all that there is")
        assert "neither a file" in refusal(tmp_path / "disk")
        assert (tmp_path / "disk").read_bytes() == b"all that there is"

    def test_a_disk_without_space_is_refused(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        full(monkeypatch)
        assert "No space left" in refusal(tmp_path / "r.json")
        assert list(tmp_path.iterdir()) == []


class TestStreams:
    def test_a_device_is_not_replaced(self) -> None:
        for name in ("/dev/null", "/dev/full"):
            assert isinstance(open_target(name), Stream)
            assert stat.S_ISCHR(Path(name).stat().st_mode)
        with pytest.raises(OSError, match="No space left"):
            write("/dev/full")
        assert stat.S_ISCHR(Path("/dev/full").stat().st_mode)

    def test_a_pipe_without_a_reader_is_refused_at_once(self, pipe: Path) -> None:
        assert "start its reader first" in refusal(pipe)
        assert pipe.is_fifo()

    def test_a_pipe_is_written_through(self, pipe: Path) -> None:
        data = os.urandom(1 << 20)  # more than a pipe holds
        reader = subprocess.Popen(["cat", pipe], stdout=subprocess.PIPE)
        target = waited_for(pipe)
        writer = threading.Thread(target=target.write, args=(data,))
        writer.start()
        assert reader.stdout is not None
        got = reader.stdout.read(len(data))
        writer.join(timeout=10)
        os.close(target.descriptor)
        assert reader.wait(timeout=10) == 0
        assert got == data
        assert pipe.is_fifo()

    def test_a_reader_that_stalls_is_given_up(
        self, pipe: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(targets, "STALLED_SECONDS", 0.05)
        keeper = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
        try:
            with pytest.raises(OSError, match="taken nothing"):
                write(pipe, bytes(1 << 20))
        finally:
            os.close(keeper)

    @pytest.mark.parametrize("name", ["-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1", "link"])
    def test_standard_output_is_one_place(self, name: str, tmp_path: Path) -> None:
        """Redirected into a file, it keeps what was written before, and what comes after."""
        (tmp_path / "link").symlink_to("/dev/stdout")
        code = (
            "from moiety.runtime.results.targets import *; print('before');"
            f"t = open_target({name!r}); assert t.descriptor == 1; t.write(b'results\\n');"
            "print('after')"
        )
        with (tmp_path / "redirected").open("wb") as file:
            subprocess.run([sys.executable, "-c", code], stdout=file, cwd=tmp_path, check=True)
        assert (tmp_path / "redirected").read_text() == "before\nresults\nafter\n"

    def test_standard_output_that_is_closed_is_refused(self) -> None:
        """Whatever has its number by then."""
        code = (
            "from moiety.runtime.results.targets import *; import os; os.open('/dev/null', 1)\n"
            "try: open_target('-')\n"
            "except BadInput as error: sys.stderr.write(str(error))"
        )
        command = 'exec "$@" >&-'
        done = subprocess.run(
            ["sh", "-c", command, "sh", sys.executable, "-c", code],
            stderr=subprocess.PIPE,
            text=True,
            check=True,
        )
        assert done.stderr == "cannot write the results to -: it is closed"

    def test_a_closed_or_reading_descriptor_is_refused(self, tmp_path: Path) -> None:
        assert "it is closed" in refusal("/dev/fd/987")
        (tmp_path / "x").touch()
        with (tmp_path / "x").open("rb") as file:
            assert "for reading only" in refusal(f"/dev/fd/{file.fileno()}")


def waited_for(pipe: Path) -> Stream:
    """Opened as soon as its reader is there."""
    for _ in range(1000):
        try:
            target = open_target(str(pipe))
        except BadInput:
            continue
        assert isinstance(target, Stream)
        return target
    raise AssertionError("the reader did not come")


def full(monkeypatch: pytest.MonkeyPatch, where: str = "") -> None:
    """No file whose path contains `where` takes a byte."""
    write_bytes = Path.write_bytes

    def refuse(self: Path, data: bytes) -> int:
        if where in str(self):
            raise OSError(28, "No space left on device")
        return write_bytes(self, data)

    monkeypatch.setattr(Path, "write_bytes", refuse)


class TestAfterTheWork:
    """A target that fails costs no result."""

    @pytest.fixture
    def told(self) -> list[str]:
        return []

    @pytest.fixture
    def opened(self, tmp_path: Path, told: list[str]) -> Outputs:
        (tmp_path / "out").mkdir()
        names = [str(tmp_path / "out" / "r.json"), str(tmp_path / "out" / "r.csv")]
        return Outputs(open_outputs(names), told.append)

    @pytest.fixture
    def here(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """The current folder."""
        (tmp_path / "here").mkdir()
        monkeypatch.chdir(tmp_path / "here")
        return tmp_path / "here"

    def test_results_go_elsewhere_and_stay_there(
        self, opened: Outputs, told: list[str], here: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        files = [Path("a.png"), Path("b.png")]
        with monkeypatch.context() as patch:
            full(patch, "r.json")
            opened.save(some_results(an_image("a.png")), files)
        assert len(told) == 1
        assert "r.json: No space left on device; the results are " in told[0]
        opened.finish(some_results(an_image("a.png"), an_image("b.png")), files)
        (spare,) = here.iterdir()
        assert mode_of(spare) == 0o600
        assert [i.file for i in read_back(spare.read_bytes()).images] == ["a.png", "b.png"]
        (moved,) = opened.moved
        assert moved.now == str(spare)
        assert not opened.lost()
        assert (here.parent / "out" / "r.csv").exists()

    def test_without_any_space_they_are_kept_for_the_terminal(
        self, opened: Outputs, told: list[str], here: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(tempfile, "tempdir", str(here))
        with monkeypatch.context() as patch:
            full(patch)
            opened.save(some_results(an_image("a.png")), [Path("a.png")])
            opened.save(some_results(an_image("a.png")), [Path("a.png")])
        assert len(opened.lost()) == len(told) == 2  # JSON and CSV, each told once
        assert list(here.iterdir()) == []
        opened.finish(some_results(an_image("a.png")), [Path("a.png")])
        assert not opened.moved  # there was space again
        assert (here.parent / "out" / "r.json").exists()

    def test_a_reader_that_left(self, pipe: Path, here: Path, told: list[str]) -> None:
        keeper = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
        opened = Outputs(open_outputs([str(pipe)]), told.append)
        os.close(keeper)
        opened.save(some_results(an_image("a.png")), [Path("a.png")])
        assert not told  # a stream is for the end
        opened.finish(some_results(an_image("a.png")), [Path("a.png")])
        assert "Broken pipe" in told[0]
        (spare,) = here.iterdir()
        assert read_back(spare.read_bytes()).complete


class TestNames:
    def test_the_name_says_the_format(self, tmp_path: Path) -> None:
        names = ["a.json", "b.CSV", "c.txt", "d"]
        made = open_outputs([str(tmp_path / name) for name in names])
        assert [each.format for each in made] == ["json", "csv", "json", "json"]
        made = open_outputs([str(tmp_path / name) for name in names], "csv")
        assert [each.format for each in made] == ["json", "csv", "csv", "csv"]
        assert open_outputs(["/dev/null"], "csv")[0].format == "csv"

    def test_without_a_name_the_format_gives_one(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        assert open_outputs([])[0].name == "results.json"
        assert open_outputs([], "csv")[0].name == "results.csv"

    def test_contradictions_are_refused(self, tmp_path: Path) -> None:
        r = str(tmp_path / "r.json")
        cases: list[tuple[str, list[str], Format | None]] = [
            ("--format csv is for outputs", [r], "csv"),
            ("two outputs are", [r, f"{tmp_path}/./r.json"], None),
            ("one per image", [str(tmp_path / "report.dcm")], None),
        ]
        for message, names, format in cases:
            with pytest.raises(BadInput, match=message):
                open_outputs(names, format)
        with pytest.raises(BadInput, match="two outputs are /dev/stdout"):
            open_outputs(["-", "/dev/stdout"])

    def test_an_image_is_no_output(self, tmp_path: Path) -> None:
        image = tmp_path / "x.png"
        image.write_bytes(b"an image")
        (tmp_path / "r.json").symlink_to("x.png")
        opened = Outputs(open_outputs([str(tmp_path / "r.json")]))
        with pytest.raises(BadInput, match="is one of the images"):
            opened.check([image], small()[0])
