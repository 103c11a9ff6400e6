"""The Program: what both parties know. A linear list of fixed-point steps, with its file format,
its soundness and its digest.

The Program holds no weight, no bias, no threshold, no activation range: only what both parties must
know to run it. What it does tell about the weights (for example a shift that was chosen from their
size) is listed in `disclosed`.

A Program comes from the other side, so nothing in it is believed: a step whose declared shape or
ring does not follow from its operands, or an RLWE plan below 128 bits of security, is refused
before a party acts on it.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import msgspec

from moiety.protocols.arrays import I64
from moiety.protocols.errors import BadArtifact
from moiety.protocols.network import NETWORKS, Network, NetworkName
from moiety.runtime.program.atomic import write_atomically
from moiety.runtime.program.decoding import UNREADABLE
from moiety.runtime.program.expression.base import DTYPES, Array, Reading
from moiety.runtime.program.expression.expression import AS_REVEALED, Expression, ResultForm
from moiety.runtime.program.expression.text import formulas
from moiety.runtime.program.policy import ALL_SCORES, Policy
from moiety.runtime.program.preprocessing import Preprocessing
from moiety.runtime.program.revealed import End, check_results, check_revealed, in_words, reading
from moiety.runtime.program.steps import AnyStep
from moiety.runtime.program.steps.base import MAX_STEPS, Claim, Rounding, Step
from moiety.runtime.program.steps.ends import Input, Output
from moiety.runtime.program.steps.gates import Gates
from moiety.runtime.program.steps.linear import Linear
from moiety.runtime.program.steps.local import Reshape

FORMAT = "moiety-program"
VERSION = 6

MAX_ELEMENTS = 1 << 28
MAX_TILES = 1 << 16
"""Of all linear layers together; what is planned and sent is planned tile by tile."""
MAX_WORDS = 200


class Program(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Everything public about a run. `steps[i].inputs < i`; the Inputs first, Outputs last.

    The first Input is what a file of the hospital's becomes, by `preprocessing` if there is one;
    the other Inputs are given beside it, `pictures` naming those that pictures become, too, by the
    same preprocessing.

    `network` is the class of network that comparisons are cut into digits for
    (protocols/compare/digits). `name` and `model_version` are the vendor's words for the model.
    `expression`: what the client computes from the revealed values, the results.
    `commitment` ties the Program to one vendor's Weights without telling anything of them
    (weights.py); empty in a Program that never had any. `policy`: what of the results is revealed.
    """

    format: Literal["moiety-program"] = "moiety-program"
    version: int = VERSION
    name: str
    model_version: str = ""
    commitment: str = ""
    rounding: Rounding
    preprocessing: Preprocessing | None
    steps: tuple[AnyStep, ...]
    expression: Expression = AS_REVEALED
    disclosed: tuple[str, ...]
    network: NetworkName = "lan"
    pictures: tuple[str, ...] = ()
    policy: Policy = ALL_SCORES

    def encode(self) -> bytes:
        """Canonical bytes: JSON with fields in declaration order. The digest is over these."""
        return msgspec.json.encode(self)

    def digest(self) -> str:
        """SHA-256 of the canonical bytes, hexadecimal."""
        return hashlib.sha256(self.encode()).hexdigest()

    def save(self, path: Path) -> None:
        """Writes indented JSON atomically: a reader sees the old file or the whole new one."""
        write_atomically(path, msgspec.json.format(self.encode(), indent=1) + b"\n")

    @classmethod
    def load(cls, path: Path) -> Program:
        """Reads and checks a Program file. BadArtifact, naming the file, if it is not a sound
        Program of this version.
        """
        try:
            data = path.read_bytes()
        except OSError as error:
            raise BadArtifact(
                f"cannot read the Program {path}: {error.strerror or error}"
            ) from None
        try:
            return cls.decode(data)
        except BadArtifact as error:
            raise BadArtifact(f"{path}: {error}") from None

    @classmethod
    def decode(cls, data: bytes) -> Program:
        """The inverse of `encode` for untrusted bytes: BadArtifact unless every field and every
        step is consistent.
        """
        try:
            header = msgspec.json.decode(data, type=_Header)
        except UNREADABLE as error:
            raise BadArtifact(f"this is not a Moiety Program: {error}") from None
        if header.format != FORMAT:
            raise BadArtifact(
                f"this is not a Moiety Program: its format is {header.format!r}, not {FORMAT!r}"
            )
        if header.version != VERSION:
            raise BadArtifact(
                f"the Program has version {header.version}, this Moiety reads {VERSION}; "
                "compile the model again"
            )
        try:
            program = msgspec.json.decode(data, type=cls)
        except UNREADABLE as error:
            raise BadArtifact(f"the Program is damaged: {error}") from None
        try:
            program.check()
        except ValueError as error:  # a number of thousands of digits, put into words
            raise BadArtifact(f"the Program is damaged: {error}") from None
        return program

    def check(self) -> None:
        """BadArtifact, naming the step, unless the Program is sound."""
        steps = self.steps
        self._check_words()
        if not 2 <= len(steps) <= MAX_STEPS:
            raise BadArtifact(f"the Program has {len(steps)} steps; 2 to {MAX_STEPS} are possible")
        outputs = list(self.outputs)
        if not outputs or outputs != list(range(len(steps) - len(outputs), len(steps))):
            raise BadArtifact("the Program's outputs must be its last steps, at least one")
        self._check_inputs()
        for index in range(len(steps)):
            self._check_step(index)
        self._check_tiles()
        self._check_policy()
        self.expression.check(self._revealed_shapes(), self._read_as())
        check_results(self.policy, self.results(), self._revealed_shapes())
        self._check_preprocessing()

    def _check_words(self) -> None:
        """What people read is short; a commitment is a SHA-256, or none."""
        for what, text in (("name", self.name), ("model version", self.model_version)):
            if len(text) > MAX_WORDS or not all(c.isprintable() for c in text):
                raise BadArtifact(
                    f"the Program's {what} is longer than {MAX_WORDS} characters, or has some "
                    "that cannot be printed"
                )
        if self.commitment and not re.fullmatch("[0-9a-f]{64}", self.commitment):
            raise BadArtifact("the Program's commitment to its weights is no SHA-256")

    def _check_inputs(self) -> None:
        """There are some, first of all; of several, each has a name of its own."""
        found = [index for index, step in enumerate(self.steps) if isinstance(step, Input)]
        if not found or found != list(range(len(found))):
            raise BadArtifact("the Program's inputs must be its first steps, at least one")
        names = self.input_names()
        if len(names) > 1 and (len(set(names)) < len(names) or "" in names):
            raise BadArtifact(f"the Program's inputs {', '.join(map(repr, names))} need names")

    def _check_policy(self) -> None:
        """What is revealed is what the policy says."""
        self.policy.check()
        check_revealed(self.policy, self._ends())

    def _ends(self) -> list[End]:
        """What the outputs reveal; another shape of it is the same."""
        ends = []
        for output in self.outputs.values():
            source = self.first_operand(output)
            while isinstance(source, Reshape):
                source = self.first_operand(source)
            ends.append(End(output, source, self.first_operand(source)))
        return ends

    def _read_as(self) -> Reading:
        """What the revealed numbers stand for."""
        return reading(self.policy, self._ends())

    def policy_in_words(self) -> str:
        """What the client learns of the network's scores, for people."""
        return in_words(self.policy, self._ends())

    def _check_preprocessing(self) -> None:
        """It makes every input that is said to be a picture."""
        others = {step.name: step.shape for step in self.inputs[1:]}
        if len(set(self.pictures)) < len(self.pictures) or not others.keys() >= set(self.pictures):
            raise BadArtifact(
                f"the Program's pictures {', '.join(map(repr, self.pictures))} are not all inputs "
                "beside the first"
            )
        if self.preprocessing is not None:
            for shape in (self.input.shape, *(others[name] for name in self.pictures)):
                self.preprocessing.check(shape)
        elif self.pictures:
            raise BadArtifact("the Program has pictures and no preprocessing")

    def _check_step(self, index: int) -> None:
        """What holds of steps of every kind, then what the step's own kind demands."""
        step = self.steps[index]
        claim = Claim(index, step, (), self.rounding)
        fewest, most = step.ARITY
        claim.require(fewest <= len(step.inputs) <= most, f"it has {len(step.inputs)} operands")
        claim.require(
            all(0 <= i < index for i in step.inputs),
            f"operands {step.inputs} are not all earlier steps",
        )
        operands = self.operands(step)
        claim.require(1 <= len(step.shape) <= 8, f"shape {step.shape} has an impossible rank")
        claim.require(all(n >= 1 for n in step.shape), f"shape {step.shape} has an empty dimension")
        claim.require(
            math.prod(step.shape) <= MAX_ELEMENTS, f"shape {step.shape} has too many elements"
        )
        claim = Claim(index, step, operands, self.rounding)
        step.check(claim)
        for operand in operands:
            operand.check_reader(claim)

    def _check_tiles(self) -> None:
        """BadArtifact where the layers' plans are larger than any that the compiler makes."""
        tiles = sum(
            step.spec(self.first_operand(step).shape).geometry.tiles(step.rlwe.tile)
            for step in self.steps
            if isinstance(step, Linear)
        )
        if tiles > MAX_TILES:
            raise BadArtifact(
                f"the Program's linear layers are cut into {tiles} tiles; at most {MAX_TILES} are "
                "possible"
            )

    def operands(self, step: Step) -> tuple[AnyStep, ...]:
        """The steps that make the values a step reads."""
        return tuple(self.steps[i] for i in step.inputs)

    def first_operand(self, step: AnyStep) -> AnyStep:
        """The step that makes a step's first operand; of an Input, itself."""
        return self.steps[step.inputs[0]] if step.inputs else step

    def joint_gates(self, index: int) -> Gates | None:
        """The Gates that are made together with this step, an exact truncation; they are the
        next step.
        """
        following = self.steps[index + 1] if index + 1 < len(self.steps) else None
        return following if isinstance(following, Gates) and following.joint else None

    @property
    def inputs(self) -> tuple[Input, ...]:
        """All Inputs, in the order of their steps, which are the first ones."""
        return tuple(step for step in self.steps if isinstance(step, Input))

    def input_names(self) -> tuple[str, ...]:
        """In order; what a case names its tensors by."""
        return tuple(step.name for step in self.inputs)

    @property
    def input(self) -> Input:
        """The first Input, step 0 of every valid Program: what a file becomes. Raises BadArtifact
        where the Program is not valid.
        """
        first = self.steps[0]
        if not isinstance(first, Input):
            raise BadArtifact("the Program's first step is not its input")
        return first

    @property
    def planned_for(self) -> Network:
        """What `network` stands for."""
        return NETWORKS[self.network]

    @property
    def outputs(self) -> dict[int, Output]:
        """Step index -> Output, in order."""
        return {index: step for index, step in enumerate(self.steps) if isinstance(step, Output)}

    def output_names(self) -> dict[int, str]:
        """Step index -> a name that is unique among the outputs."""
        names = [step.name for step in self.outputs.values()]
        return {
            index: step.name
            if step.name and names.count(step.name) == 1
            else f"{step.name or 'output'}.{index}"
            for index, step in self.outputs.items()
        }

    def _revealed_shapes(self) -> list[tuple[int, ...]]:
        return [step.shape for step in self.outputs.values()]

    def results(self) -> tuple[ResultForm, ...]:
        """What is known of each result, in order; their names are unique."""
        names = tuple(self.output_names().values())
        return self.expression.described(names, self._revealed_shapes(), self._read_as())

    def formulas(self) -> tuple[str, ...]:
        """How each result is computed, for people, in order."""
        return tuple(formulas(self.expression, tuple(self.output_names().values())))

    def compute(self, integers: Mapping[int, I64]) -> dict[str, Array]:
        """Result name -> its values, from the revealed integers of one image by output step, of
        that step's shape: real numbers, integers or truth values.
        """
        made = DTYPES[self._read_as().kind]
        revealed: list[Array] = [
            step.dequantise(integers[index]).astype(made) for index, step in self.outputs.items()
        ]
        names = (result.name for result in self.results())
        return dict(zip(names, self.expression.evaluate(revealed), strict=True))

    def last_uses(self) -> tuple[tuple[int, ...], ...]:
        """For each step, the operands that no later step reads: an executor may forget them
        after it.
        """
        last = {operand: index for index, step in enumerate(self.steps) for operand in step.inputs}
        return tuple(
            tuple(operand for operand in dict.fromkeys(step.inputs) if last[operand] == index)
            for index, step in enumerate(self.steps)
        )


class _Header(msgspec.Struct, frozen=True):
    format: str
    version: int
