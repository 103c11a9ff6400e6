"""The folder that `moiety compile` writes, as the two parties read it."""

from __future__ import annotations

import stat
from pathlib import Path

import msgspec
import numpy as np
import pytest
import safetensors
import safetensors.numpy

from moiety.protocols.errors import BadArtifact, BadInput
from moiety.runtime.program.artifacts import (
    VENDOR,
    check_free,
    file_name,
    load_program,
    load_vendor,
    replacing_compiled,
    weights_file,
)
from moiety.runtime.program.weights import commit
from tests.support.runnable import save, small


def test_round_trip(tmp_path: Path) -> None:
    program, weights = small()
    save(tmp_path / "compiled", program, weights)
    loaded, tensors = load_vendor(tmp_path / "compiled")
    assert loaded == program
    assert all(
        np.array_equal(tensors.tensors[name], array) for name, array in weights.tensors.items()
    )
    for place in ("compiled", "compiled/small.moiety"):
        assert load_program(tmp_path / place) == program


def test_missing_artifacts(tmp_path: Path) -> None:
    with pytest.raises(BadArtifact, match="no such file or folder"):
        load_program(tmp_path / "nowhere")
    with pytest.raises(BadArtifact, match=r"no \.moiety file"):
        load_program(tmp_path)
    program, weights = small()
    save(tmp_path, program, weights)
    weights_file(tmp_path).unlink()
    with pytest.raises(BadArtifact, match=r"no vendor/weights\.safetensors"):
        load_vendor(tmp_path)


def altered(folder: Path, **changes: str) -> None:
    """One value of the weights file changed, or entries of its metadata; the rest of the file as it
    was, the Program's digest in it too.
    """
    path = weights_file(folder)
    with safetensors.safe_open(path, framework="numpy") as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    if not changes:
        tensors["linear.1.weight"].reshape(-1)[7] ^= 1
    safetensors.numpy.save_file(tensors, path, {**metadata, **changes})


def test_weights_that_the_program_does_not_commit_to_are_refused(tmp_path: Path) -> None:
    program, weights = small()
    save(tmp_path, program, weights)
    whole = weights_file(tmp_path).read_bytes()
    altered(tmp_path)
    with pytest.raises(BadArtifact, match=r"weights\.safetensors: .* altered"):
        load_vendor(tmp_path)
    for salt, message in (
        ("00" * 32, "altered"),
        ("", "salt is missing"),
        ("x", "salt is missing"),
    ):
        weights_file(tmp_path).write_bytes(whole)
        altered(tmp_path, salt=salt)
        with pytest.raises(BadArtifact, match=message):
            load_vendor(tmp_path)


def test_weights_of_another_compilation_are_refused(tmp_path: Path) -> None:
    """Of the same model even: another salt makes another Program."""
    program, weights = small()
    again, others = commit(program, weights.tensors)
    assert again.digest() != program.digest()
    save(tmp_path, program, weights)
    others.save(weights_file(tmp_path), again)
    with pytest.raises(BadArtifact, match="belongs to the Program"):
        load_vendor(tmp_path)
    altered(tmp_path, program=program.digest())
    with pytest.raises(BadArtifact, match="altered"):
        load_vendor(tmp_path)


def test_a_commitment_tells_nothing_without_the_salt() -> None:
    program, weights = small()
    commitments = {commit(program, weights.tensors)[0].commitment for _ in range(20)}
    assert len(commitments) == 20
    assert weights.salt.hex() not in program.encode().decode()


def test_a_program_without_a_commitment_is_not_served(tmp_path: Path) -> None:
    program, weights = small()
    bare = msgspec.structs.replace(program, commitment="")
    with pytest.raises(BadArtifact, match="does not commit"):
        save(tmp_path, bare, weights)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("chest x-ray/2024 (final)", "chest-x-ray-2024-final.moiety"),
        ("../../etc/passwd", "etc-passwd.moiety"),
        ("模型", "model.moiety"),
        ("a" * 200, "a" * 80 + ".moiety"),
    ],
)
def test_the_file_name_follows_from_the_models_name(name: str, expected: str) -> None:
    assert file_name(small(name=name)[0]) == expected


def test_a_folder_with_two_programs(tmp_path: Path) -> None:
    program, weights = small()
    save(tmp_path, program, weights)
    program.save(tmp_path / "other.moiety")
    with pytest.raises(BadArtifact, match=r"2 Programs in it \(other\.moiety, small\.moiety\)"):
        load_program(tmp_path)
    assert load_program(tmp_path / "other.moiety") == program


@pytest.mark.parametrize("place", ["public/program.json", "program.json", "weights.safetensors"])
def test_a_folder_of_an_earlier_release(tmp_path: Path, place: str) -> None:
    (tmp_path / place).parent.mkdir(exist_ok=True)
    (tmp_path / place).touch()
    with pytest.raises(BadArtifact, match="earlier release; compile the model again"):
        load_program(tmp_path)
    with pytest.raises(BadInput, match=r"holds a compiled model already .* --force"):
        check_free(tmp_path)


def test_the_vendors_part_is_not_the_compiled_folder(tmp_path: Path) -> None:
    save(tmp_path, *small())
    with pytest.raises(BadArtifact, match="give the folder that it is in"):
        load_vendor(tmp_path / "vendor")


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_replacing_takes_all_artifacts_and_nothing_else(tmp_path: Path) -> None:
    program, weights = small(name="old")
    save(tmp_path, program, weights)
    (tmp_path / VENDOR / "hints.safetensors").write_bytes(b"of the old weights")
    (tmp_path / "notes.txt").write_bytes(b"mine")
    new, salted = small(name="new")
    with replacing_compiled(tmp_path) as folder:
        save(folder, new, salted)
    assert load_vendor(tmp_path)[0] == new
    assert sorted(contents(tmp_path)) == ["new.moiety", "notes.txt", "vendor/weights.safetensors"]
    assert stat.S_IMODE((tmp_path / VENDOR).stat().st_mode) == 0o700
    assert sorted(tmp_path.iterdir()) == sorted(
        tmp_path / name for name in ("new.moiety", "notes.txt", "vendor")
    )


@pytest.mark.parametrize("fails_at", range(5))
def test_what_fails_leaves_the_old_artifacts(
    tmp_path: Path, fails_at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While writing (0), or at any of the renames after it."""
    program, weights = small(name="old")
    save(tmp_path, program, weights)
    before, rename, count = contents(tmp_path), Path.rename, 0

    def failing(path: Path, target: Path) -> Path:
        nonlocal count
        count += 1
        if count == fails_at:
            raise OSError(28, "No space left on device")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", failing)

    def replace() -> None:
        with replacing_compiled(tmp_path) as folder:
            save(folder, *small(name="new"))
            if not fails_at:
                raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        replace()
    assert contents(tmp_path) == before
    assert len(list(tmp_path.iterdir())) == 2
