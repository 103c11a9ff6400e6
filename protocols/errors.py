"""The one exception tree of Moiety.

MoietyError
├── BadModel
├── BadPlan
├── BadInput
│   └── BadArtifact
├── PeerMismatch
├── UntrustedPeer
├── DeviatingPeer
├── NetworkFailure
└── ContractViolation

Everything but ContractViolation is a user's matter: the command line prints its message without a
traceback and exits with `exit_code`.
"""

LONGEST = 3000
"""Characters of a message."""


class MoietyError(Exception):
    """Everything that Moiety raises on purpose. `exit_code`: of the command that ends by it.

    Messages quote files and peers. Read as text, nothing in one moves a cursor or rings a bell, and
    none is too long to be read.
    """

    exit_code = 1

    def __str__(self) -> str:
        said = super().__str__()
        if len(said) > LONGEST:
            said = f"{said[: LONGEST // 2]} ... {said[-LONGEST // 4 :]}"
        return "".join(c if c.isprintable() or c == "\n" else _escaped(c) for c in said)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()


class BadModel(MoietyError):
    """The ONNX file cannot be compiled."""

    exit_code = 3


class BadPlan(MoietyError):
    """No plan meets the options given, or a plan is not secure, does not decrypt, or overflows."""

    exit_code = 4


class BadInput(MoietyError):
    """An image, a folder, a file or an option of the user's."""

    exit_code = 5


class BadArtifact(BadInput):
    """A Program, Weights or calibration file that is damaged, foreign or of another version."""

    exit_code = 6


class PeerMismatch(MoietyError):
    """The two sides do not run the same Program, version or parameters."""

    exit_code = 7


class UntrustedPeer(MoietyError):
    """Nobody vouches for who speaks: a key that is not trusted or no longer valid, a peer without
    TLS where it is due, bytes of another connection, bytes changed on the way.
    """

    exit_code = 9


class DeviatingPeer(MoietyError):
    """A consistency check failed: the peer does not follow the protocol. What it tried to learn it
    has learned only if its guess was right (docs/security.md), and the check passed then.
    """

    exit_code = 10


class NetworkFailure(MoietyError):
    """The connection was refused or lost, timed out, or has garbage on it."""

    exit_code = 8


class ContractViolation(MoietyError):
    """A bug: an internal precondition does not hold."""

    exit_code = 70
