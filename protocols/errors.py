"""The one exception tree of Moiety.

MoietyError
├── BadModel           the ONNX file cannot be compiled
├── BadPlan            no plan meets the options given
├── BadInput           an image, a folder, a file or an option of the user's
│   └── BadArtifact    a Program, Weights or calibration file that is damaged, foreign or of
│                      another version
├── PeerMismatch       the two sides do not run the same Program, version or parameters
├── NetworkFailure     connection refused, lost, timed out, or garbage on it
└── ContractViolation  a bug: an internal precondition does not hold

Everything but ContractViolation is a user's matter: the command line prints its message without a
traceback and exits with `exit_code`.
"""


class MoietyError(Exception):
    """What every error of the package is; `exit_code` is the command line's."""

    exit_code = 1


class BadModel(MoietyError):
    exit_code = 3


class BadPlan(MoietyError):
    exit_code = 4


class BadInput(MoietyError):
    exit_code = 5


class BadArtifact(BadInput):
    exit_code = 6


class PeerMismatch(MoietyError):
    exit_code = 7


class NetworkFailure(MoietyError):
    exit_code = 8


class ContractViolation(MoietyError):
    exit_code = 70
