"""Program and Weights files: round trips, and everything that must be refused."""

from __future__ import annotations

import json
import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import safetensors.numpy

from moiety.protocols.errors import BadArtifact, BadInput
from moiety.runtime import program as ir
from moiety.runtime.program import weights as weights_module
from moiety.runtime.program.weights import Weights, commit
from tests.support.programs import make_program, random_weights, small_program


def test_round_trip(tmp_path: Path) -> None:
    program = small_program()
    program.save(tmp_path / "program.json")
    loaded = ir.Program.load(tmp_path / "program.json")
    assert loaded == program
    assert loaded.digest() == program.digest()
    assert [p.name for p in tmp_path.iterdir()] == ["program.json"]


def others(value: object) -> object:
    """Another value of a field, whatever it is; of what has parts, with its last part changed."""
    if isinstance(value, msgspec.Struct):
        name = value.__struct_fields__[-1]
        return msgspec.structs.replace(value, **{name: others(getattr(value, name))})
    if isinstance(value, tuple) and value:
        return (*value[:-1], others(value[-1]))
    if isinstance(value, bool) or value is None:
        return not value
    return value + type(value)(1) if isinstance(value, int | float) else [value]


def test_digest_depends_on_every_field() -> None:
    """Of the Program, and of each of its steps."""
    program = small_program()
    digests = {program.digest()}
    for name in program.__struct_fields__:
        changed = msgspec.structs.replace(program, **{name: others(getattr(program, name))})
        digests.add(changed.digest())
    assert len(digests) == 1 + len(program.__struct_fields__)
    for at, step in enumerate(program.steps):
        for name in step.__struct_fields__:
            changed_step = msgspec.structs.replace(step, **{name: others(getattr(step, name))})
            steps = (*program.steps[:at], changed_step, *program.steps[at + 1 :])
            digests.add(msgspec.structs.replace(program, steps=steps).digest())
    fields = sum(len(step.__struct_fields__) for step in program.steps)
    assert len(digests) == 1 + len(program.__struct_fields__) + fields - 1  # the last step's last


def test_digest_ignores_layout_of_the_file(tmp_path: Path) -> None:
    program = small_program()
    path = tmp_path / "program.json"
    path.write_text(json.dumps(json.loads(program.encode()), indent=7))
    assert ir.Program.load(path).digest() == program.digest()


LONG = 10**4300 - 1
"""Of as many digits as a number may have that is read or put into words."""


def _edited(edit: Callable[[dict[str, Any]], None]) -> bytes:
    tree = json.loads(small_program().encode())
    edit(tree)
    return json.dumps(tree).encode()


def _set(step: int, **fields: Any) -> Callable[[dict[str, Any]], None]:
    return lambda tree: tree["steps"][step].update(fields)


def _rlwe(**fields: Any) -> Callable[[dict[str, Any]], None]:
    return lambda tree: tree["steps"][1]["rlwe"].update(fields)


def _guard_without_width(tree: dict[str, Any]) -> None:
    del tree["steps"][1]["guard"]


def _stochastic(guarded: int) -> Callable[[dict[str, Any]], None]:
    """The Program says that it rounds stochastically, and has a layer with guard bits."""

    def edit(tree: dict[str, Any]) -> None:
        tree["rounding"] = "stochastic"
        assert tree["steps"][guarded]["guard"] > 0

    return edit


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda t: t.update(format="other"), "not a Moiety Program"),
        (lambda t: t.update(version=1), "version 1, this Moiety reads 6; compile the model again"),
        (lambda t: t.update(surprise=1), "damaged"),
        (lambda t: t["steps"].pop(), "outputs must be its last steps"),
        (lambda t: t["steps"].insert(2, t["steps"][0]), "inputs must be its first steps"),
        (lambda t: t["steps"].clear(), "0 steps"),
        (_set(2, kind="exec"), "damaged"),
        (_set(2, inputs=[2]), "step 2 (truncate): operands"),
        (_set(2, inputs=[-1]), "operands"),
        (_set(2, inputs=[]), "0 operands"),
        (_set(2, shape=[4, 8, 7]), "step 2 (truncate): shape"),
        (_set(2, bits=17), "ring width 17"),
        (_set(2, shift=0), "shift 0"),
        (_set(2, rounding="stochastic"), "promises exact rounding"),
        (_set(1, shape=[4, 8, 9]), "shape"),
        (_set(1, groups=3), "groups"),
        (_set(1, pads=[-1, 0, 0, 0]), "pads"),
        (_set(1, weight_bits=40), "weight_bits"),
        (_set(0, scale=0.0), "scale"),
        (_set(0, value_bits=99), "value_bits"),
        (_set(0, bits=65), "ring width 65"),
        (_set(0, shape=[2, 0, 8]), "empty dimension"),
        (_set(0, shape=[1 << 20, 1 << 20, 8]), "too many elements"),
        (_set(4, bits=8), "narrower"),
        (_set(7, bits=40), "wider"),
        (_set(8, signs=[1]), "signs"),
        (_set(8, signs=[1, 2]), "signs"),
        (_set(8, inputs=[6, 4]), "different rings"),
        (_set(10, axis=3), "axis"),
        (_set(12, kernel=[9, 9]), "larger than its operand"),
        (_set(13, stops=[9, 2, 2]), "limits"),
        (_set(14, pads=[[LONG, LONG]] * 3), "damaged"),
        (_set(15, perm=[0, 0, 2]), "permutation"),
        (_set(16, shape=[23, 1, 1]), "shape"),
        (_rlwe(degree=2048), "128-bit security"),
        (_rlwe(degree=1000), "degree 1000"),
        (_rlwe(primes=[134176769, 134176769]), "distinct"),
        (_rlwe(primes=[15]), "not an NTT prime"),
        (_rlwe(answer_bits=5), "answer_bits"),
        (_set(1, guard=0, bits=26), "exact rounding takes 1 to 8"),
        (_set(1, guard=-1, bits=25), "exact rounding takes 1 to 8"),
        (_set(1, guard=9, bits=35), "exact rounding takes 1 to 8"),
        (_set(1, guard=3), "ring width 28 where its operands give 29"),
        (_guard_without_width, "damaged"),
        (_set(2, shift=1, bits=27), "step 2 (truncate): it reads a linear layer"),
        (_set(3, inputs=[1], bits=28), "step 3 (maxpool): it reads a linear layer"),
        (_set(8, inputs=[5, 5], bits=28), "step 8 (add): it reads a linear layer"),
        (
            _set(21, inputs=[17], shape=[3, 1, 1], bits=30),
            "step 21 (output 'out'): it reads a linear layer",
        ),
        (_stochastic(1), "guard bits without exact rounding"),
    ],
)
def test_unsound_programs_are_refused(edit: Callable[[dict[str, Any]], None], message: str) -> None:
    with pytest.raises(BadArtifact, match=message.replace("(", r"\(").replace(")", r"\)")):
        ir.Program.decode(_edited(edit))


DEEP = b"[" * 50_000 + b"]" * 50_000


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x80\x04garbage",
        b"[]",
        b"null",
        b'{"format": "moiety-program"}',
        b'{"format": "\xff", "version": 1}',
        b'{"format": "moiety-program", "version": 2, "name": "\xff"}',
        b'{"format": "moiety-program", "version": 2, "deep": ' + DEEP + b"}",
    ],
    ids=range(8),
)
def test_foreign_bytes_are_refused(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "program.json"
    path.write_bytes(data)
    with pytest.raises(BadArtifact, match=r"program\.json"):
        ir.Program.load(path)


def test_truncated_at_every_hundredth_byte() -> None:
    data = small_program().encode()
    for length in range(0, len(data) - 1, 100):
        with pytest.raises(BadArtifact):
            ir.Program.decode(data[:length])


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(BadArtifact, match="No such file"):
        ir.Program.load(tmp_path / "nothing.json")


def test_preprocessing_must_fit_the_input() -> None:
    def add(tree: dict[str, Any]) -> None:
        tree["preprocessing"] = {
            "size": [8, 9],
            "channels": 2,
            "mean": [0, 0],
            "std": [1, 1],
            "resize": "exact",
        }

    with pytest.raises(BadArtifact, match="preprocessing makes"):
        ir.Program.decode(_edited(add))


def committed() -> tuple[ir.Program, Weights]:
    program = small_program()
    return commit(program, random_weights(program, np.random.default_rng(1)).tensors)


class TestWeights:
    def test_round_trip(self, tmp_path: Path) -> None:
        program, weights = committed()
        weights.save(tmp_path / "w.safetensors", program)
        assert stat.S_IMODE((tmp_path / "w.safetensors").stat().st_mode) == 0o600
        loaded = Weights.load(tmp_path / "w.safetensors", program)
        assert loaded.tensors.keys() == weights.tensors.keys()
        for name, array in weights.tensors.items():
            assert loaded.tensors[name].dtype == array.dtype
            np.testing.assert_array_equal(loaded.tensors[name], array)

    def test_a_commitment_is_of_every_number_and_its_salt(self) -> None:
        """Each tensor's last number, name, type and shape; a salt of 32 bytes, new every time."""
        program, weights = committed()
        again, other = committed()
        assert len(weights.salt) == len(other.salt) == 32
        assert len({weights.salt, other.salt, bytes(32)}) == 3
        assert re.fullmatch("[0-9a-f]{64}", program.commitment)
        found = {program.commitment, again.commitment, weights_module._commitment(Weights({}))}
        assert len(found) == 3

        def commitment(name: str, array: Any) -> str:
            tensors = {**weights.tensors, name: array}
            return weights_module._commitment(Weights(tensors, weights.salt))

        for name, array in weights.tensors.items():
            changed = array.copy()
            changed.flat[-1] ^= 1
            others = {
                commitment(name, array),
                commitment(name, changed),
                commitment(name, array[None]),
                commitment(name, array.view(array.dtype.str.replace("i", "u"))),
            }
            assert program.commitment in others
            assert len(others) == (4 if array.dtype.kind == "i" else 3)

    def test_other_weights_than_committed_to_are_not_read(self, tmp_path: Path) -> None:
        program, weights = committed()
        weights.save(tmp_path / "w", program)
        tensors = safetensors.numpy.load_file(tmp_path / "w")
        tensors["linear.1.weight"].flat[-1] ^= 1
        with safetensors.safe_open(tmp_path / "w", framework="numpy") as file:
            metadata = file.metadata()
        safetensors.numpy.save_file(tensors, tmp_path / "w", metadata)
        with pytest.raises(BadArtifact, match="not the weights that the Program was compiled with"):
            Weights.load(tmp_path / "w", program)
        with pytest.raises(BadArtifact, match="not the weights that the Program was compiled with"):
            Weights(tensors, weights.salt).save(tmp_path / "x", program)

    def test_of_another_program(self, tmp_path: Path) -> None:
        program, weights = committed()
        weights.save(tmp_path / "w", program)
        with pytest.raises(BadArtifact, match="belongs to the Program"):
            Weights.load(tmp_path / "w", small_program("stochastic"))

    def test_foreign_and_damaged(self, tmp_path: Path) -> None:
        program, weights = committed()
        weights.save(tmp_path / "w", program)
        data = (tmp_path / "w").read_bytes()
        for broken in (b"", data[:100], data[:-1], b"\x00" * 64):
            (tmp_path / "broken").write_bytes(broken)
            with pytest.raises(BadArtifact):
                Weights.load(tmp_path / "broken", program)
        (tmp_path / "other").write_bytes(safetensors.numpy.save({"x": np.zeros(3)}))
        with pytest.raises(BadArtifact, match="not a Moiety weights file"):
            Weights.load(tmp_path / "other", program)
        with pytest.raises(BadArtifact, match="cannot read"):
            Weights.load(tmp_path / "absent", program)

    @pytest.mark.parametrize(
        ("name", "array", "message"),
        [
            ("linear.1.weight", None, "lack"),
            ("linear.99.weight", np.zeros(1, np.int32), "does not use"),
            ("linear.1.weight", np.zeros((4, 2, 3, 3), np.int64), "int64"),
            ("linear.1.weight", np.zeros((4, 2, 3, 1), np.int32), "shape"),
            ("linear.1.weight", np.full((4, 2, 3, 3), -128, np.int32), "beyond its 8 bits"),
            ("linear.1.bias", np.zeros((4,), np.int64), "shape"),
            ("relu.11.flip", np.full(8, 2, np.uint8), "0 and 1"),
            ("const.9", np.zeros((5, 4, 4), np.int64), "broadcast"),
        ],
    )
    def test_misfits(self, name: str, array: Any, message: str, tmp_path: Path) -> None:
        program = small_program()
        tensors = dict(random_weights(program, np.random.default_rng(1)).tensors)
        tensors.pop(name, None)
        if array is not None:
            tensors[name] = array
        with pytest.raises(BadArtifact, match=message):
            Weights(tensors).save(tmp_path / "w", program)
        assert not (tmp_path / "w").exists()


class TestValues:
    program = make_program(ir.Input(inputs=(), shape=(2, 1, 1), bits=20, scale=0.25, value_bits=6))

    def test_quantise_rounds_and_clips(self) -> None:
        x = np.array([0.9, -1e9]).reshape(2, 1, 1)
        np.testing.assert_array_equal(self.program.input.quantise(x).ravel(), [4, -32])
        np.testing.assert_array_equal(self.program.input.quantise(-x).ravel(), [-4, 31])

    @pytest.mark.parametrize(
        "x", [np.zeros((2, 1)), np.full((2, 1, 1), np.nan), np.full((2, 1, 1), np.inf)]
    )
    def test_bad_images(self, x: Any) -> None:
        with pytest.raises(BadInput):
            self.program.input.quantise(x)

    def test_dequantise(self) -> None:
        values = np.array([-(1 << 40), 0, 1 << 40])
        step = ir.Output(inputs=(0,), shape=(3,), bits=50, scale=0.5)
        np.testing.assert_allclose(step.dequantise(values), values / 2)

    def test_last_uses_free_everything_once(self) -> None:
        program = small_program()
        freed = [i for operands in program.last_uses() for i in operands]
        assert sorted(freed) == list(range(len(program.steps) - 1))

    def test_output_names_are_unique(self) -> None:
        one = ir.Output(inputs=(0,), shape=(2, 1, 1), bits=20, name="y", scale=1.0)
        program = msgspec.structs.replace(self.program, steps=(self.program.steps[0], one, one))
        assert program.output_names() == {1: "y.1", 2: "y.2"}
