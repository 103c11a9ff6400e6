"""The C-STORE service: files of every encoding, titles that may not send, UIDs that name paths, a
full disk, and the command with its signals.
"""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.dataset import FileDataset
from pynetdicom import AE
from pynetdicom.association import Association

from moiety.protocols.errors import BadInput, NetworkFailure
from moiety.runtime.intake.dicom.receiver import Folder, Receiver, file_name
from tests.support.command import COMMAND, ENVIRONMENT, moiety
from tests.support.dicom import COLLECTION, DX, PATIENT, WHOLE, manifest, radiograph

SENDABLE = [
    row
    for row in manifest()
    if row["sop_instance_uid"] and row["transfer_syntax"] and row["sop_class"]
    if not row["read_strict"]
]
LARGEST = 1 << 20
VERIFICATION = "1.2.840.10008.1.1"
UNKNOWN = ("1.2.840.10008.1.2.4.110",)
"""Transfer syntaxes of the collection that pynetdicom does not know."""


@contextmanager
def receiving(folder: Path, **options: Any) -> Iterator[tuple[int, list[str], Receiver]]:
    said: list[str] = []
    place = Folder(folder)
    place.prepare()
    with Receiver("MOIETY", ["PACS", "WS2"], place, said.append, **options) as receiver:
        yield receiver.listen("127.0.0.1", 0), said, receiver


@contextmanager
def calling(
    port: int, *contexts: tuple[str, str], title: str = "PACS", called: str = "MOIETY"
) -> Iterator[Association]:
    entity = AE(ae_title=title)
    for abstract, syntax in contexts:
        entity.add_requested_context(abstract, syntax)
    association = entity.associate("127.0.0.1", port, ae_title=called)
    try:
        yield association
    finally:
        if association.is_established:
            association.release()


def send(port: int, *datasets: FileDataset) -> list[int]:
    contexts = {(str(d.SOPClassUID), str(d.file_meta.TransferSyntaxUID)) for d in datasets}
    with calling(port, *sorted(contexts)) as association:
        assert association.is_established
        return [association.send_c_store(dataset).Status for dataset in datasets]


def test_files_arrive_as_they_are_in_every_encoding(tmp_path: Path) -> None:
    rows = [row for row in SENDABLE if row["transfer_syntax"] not in UNKNOWN]
    rows = [row for row in rows if int(row["bytes"]) < LARGEST and row["frames"] != "1A"]
    sent: dict[str, FileDataset] = {}
    for row in rows:
        dataset = pydicom.dcmread(COLLECTION / row["file"])
        sent.setdefault(str(dataset.SOPInstanceUID), dataset)
    with receiving(tmp_path) as (port, _, receiver):
        statuses = [status for dataset in sent.values() for status in send(port, dataset)]
    assert set(statuses) == {0}
    assert receiver.taken == len(sent) >= 8
    assert {path.name for path in tmp_path.iterdir()} == {f"{uid}.dcm" for uid in sent}
    for uid, dataset in sent.items():
        found = pydicom.dcmread(tmp_path / f"{uid}.dcm")
        assert found.file_meta.TransferSyntaxUID == dataset.file_meta.TransferSyntaxUID
        assert found.get("PixelData") == dataset.get("PixelData")
        assert (tmp_path / f"{uid}.dcm").stat().st_mode & 0o777 == 0o600
    encodings = {str(dataset.file_meta.TransferSyntaxUID) for dataset in sent.values()}
    several = {"1.2.840.10008.1.2.1", "1.2.840.10008.1.2.5"}
    assert encodings >= (several | {"1.2.840.10008.1.2.4.80"} if COLLECTION == WHOLE else several)


@pytest.mark.parametrize(("title", "called"), [("STRANGER", "MOIETY"), ("PACS", "OTHER")])
def test_other_titles_are_rejected(title: str, called: str, tmp_path: Path) -> None:
    context = (DX, "1.2.840.10008.1.2.1")
    with (
        receiving(tmp_path) as (port, said, _),
        calling(port, context, title=title, called=called) as association,
    ):
        assert association.is_rejected
    assert "rejected" in said[0]
    assert not list(tmp_path.iterdir())


def test_echo_is_answered(tmp_path: Path) -> None:
    context = (VERIFICATION, "1.2.840.10008.1.2")
    with (
        receiving(tmp_path) as (port, _, _),
        calling(port, context, title="WS2") as association,
    ):
        assert association.send_c_echo().Status == 0


def test_a_uid_that_comes_again(tmp_path: Path) -> None:
    """The same bytes are one file; others lie beside it: nothing is lost, nothing overwritten."""
    other = radiograph(radiograph().pixel_array[::-1].copy())
    with receiving(tmp_path) as (port, said, _):
        assert send(port, radiograph(), radiograph(), other, other) == [0, 0, 0, 0]
    names = sorted(path.name for path in tmp_path.iterdir())
    assert len(names) == 2
    assert names[1] == "1.2.3.4.5.dcm"
    assert names[0].startswith("1.2.3.4.5-")
    assert [line.startswith("stored") for line in said] == [True, False, True, False]
    assert pydicom.dcmread(tmp_path / names[1]).PixelData == radiograph().PixelData


@pytest.mark.parametrize("uid", ["../../etc/passwd", "/etc/passwd", "..", "", "1." * 40, PATIENT])
def test_no_uid_names_a_path(uid: str, tmp_path: Path) -> None:
    name = file_name(uid)
    assert name.startswith("uid-")
    assert (tmp_path / name).parent == tmp_path
    assert PATIENT not in name
    assert file_name("1.2.840.1") == "1.2.840.1.dcm"


def test_a_full_disk_is_told_to_the_sender(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with receiving(tmp_path) as (port, said, receiver):
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", full)
            assert send(port, radiograph()) == [0xA700]
        assert not list(tmp_path.iterdir())
        assert send(port, radiograph()) == [0]
    assert said[0] == "not stored, the sender was told so: No space left on device"
    assert receiver.taken == 1


def test_a_sender_finishes_while_the_service_stops(tmp_path: Path) -> None:
    dataset = radiograph()
    with receiving(tmp_path) as (port, _, receiver):
        with calling(port, (DX, "1.2.840.10008.1.2.1")) as association:
            assert association.is_established
            stopping = threading.Thread(target=receiver.stop)
            stopping.start()
            while accepts(port):
                pass
            assert association.send_c_store(dataset).Status == 0
        stopping.join(timeout=30)
        assert not stopping.is_alive()
    assert [path.name for path in tmp_path.iterdir()] == ["1.2.3.4.5.dcm"]


def accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except OSError:
        return False
    return True


def test_nothing_said_names_a_patient(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with receiving(tmp_path) as (port, said, _):
        send(port, radiograph())
    assert PATIENT not in "\n".join(said)
    assert capfd.readouterr() == ("", "")


def test_the_command_takes_files_until_it_has_enough(tmp_path: Path) -> None:
    with command(tmp_path / "new" / "in", "--max", "2") as (process, port):
        other = radiograph(SOPInstanceUID="1.2.3.4.6")
        other.file_meta.MediaStorageSOPInstanceUID = other.SOPInstanceUID
        assert send(port, radiograph(), other) == [0, 0]
        _, log = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "2 files were taken" in log
    assert sorted(path.name for path in (tmp_path / "new" / "in").iterdir()) == [
        "1.2.3.4.5.dcm",
        "1.2.3.4.6.dcm",
    ]


def test_the_command_stops_in_good_order(tmp_path: Path) -> None:
    with command(tmp_path) as (process, port):
        assert send(port, radiograph()) == [0]
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "stopped by SIGTERM" in log
    assert "Traceback" not in log
    assert [path.name for path in tmp_path.iterdir()] == ["1.2.3.4.5.dcm"]


@contextmanager
def command(folder: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    process = subprocess.Popen(
        [*COMMAND, "receive", "-o", str(folder), "--calling", "PACS", "--port", "0", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("listening 127.0.0.1:")
        yield process, int(line.rpartition(":")[2])
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(timeout=10)


def test_wrong_options(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    moiety("receive", "-o", file, "--calling", "PACS").refused(5, str(file))
    moiety("receive", "-o", tmp_path, "--calling", "A" * 17).refused(5, "AE title")
    with pytest.raises(BadInput, match=r"no AE title may send: .*--calling"):
        Receiver("MOIETY", [], Folder(tmp_path), print)
    with receiving(tmp_path) as (port, _, _):
        second = Receiver("MOIETY", ["PACS"], Folder(tmp_path), print)
        with pytest.raises(NetworkFailure, match=f"cannot listen on 127.0.0.1:{port}"):
            second.listen("127.0.0.1", port)
