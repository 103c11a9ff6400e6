"""What an operator of a server or a hospital's IT writes and keeps: access, options, counts, keys,
the audit log.
"""

from __future__ import annotations

import hashlib
import random
import shutil
from collections.abc import Iterator

import msgspec

from moiety.runtime.cli import config
from moiety.runtime.cost.machine import REFERENCE_MACHINE, Machine
from moiety.runtime.intake import presets
from moiety.runtime.operation import access, audit
from moiety.runtime.operation.audit import GENESIS, AuditLog
from moiety.runtime.operation.counters import Counters
from moiety.runtime.operation.fingerprint import Fingerprint
from moiety.runtime.party.certificates import read_certificates, read_key
from moiety.runtime.party.keystore import KeyStore
from moiety.runtime.party.server.cohorts import Cohorts
from tests.fuzz.mutation import of_bytes, of_json, of_lines, of_text
from tests.fuzz.target import Target, laid, scratch
from tests.fuzz.targets.mixed import behind_it, by_first_byte

FINGERPRINT = Fingerprint(bytes(range(32)))

# --- TOML and JSON --------------------------------------------------------------------------------

ACCESS = f"""[clients.st-mary]
fingerprint = "{FINGERPRINT}"
images-per-day = 200
images-in-total = 5000
cohorts-in-total = 4
programs = ["5f0c9a00"]
[clients.other]
fingerprint = "{"0" * 64}"
""".encode()
CONFIG = b"""[serve]
listen = "0.0.0.0:7700"
batch = [4, 16]
hint-file = false
[infer]
retries = 3
"""


def run_access(data: bytes) -> None:
    access.read(laid("access.toml", data))


def run_config(data: bytes) -> None:
    config.read(laid("moiety.toml", data), ("serve", "infer", "evaluate"))


def run_counts(data: bytes) -> None:
    """With a lock of the first bytes."""
    laid("counts.lock", data[:8])
    Counters(laid("counts.json", data[8:])).of("client")


def run_machine(data: bytes) -> None:
    Machine.load(laid("machine.json", data))


def run_preprocessing(data: bytes) -> None:
    presets.from_json(data, (1, 8, 8))


def setting_seeds() -> Iterator[bytes]:
    yield b"\0" + ACCESS
    yield b"\1" + CONFIG
    path = scratch() / "made.json"
    counters = Counters(path)
    counters.take(FINGERPRINT.digest.hex(), 3, lambda count: True)
    yield b"\2" + counters.lock.read_bytes()[-9:-1] + path.read_bytes()
    yield b"\3" + msgspec.json.encode(REFERENCE_MACHINE)
    yield b"\4" + b'{"size":[8,8],"channels":1,"mean":[0.5],"std":[0.25]}'


def of_setting(data: bytes, rng: random.Random) -> bytes:
    kind = data[:1]
    if kind in (b"\3", b"\4") and rng.randrange(4):
        return kind + of_json(data[1:], rng)
    return kind + of_text(data[1:], rng)


SETTINGS = Target(
    "settings",
    by_first_byte(run_access, run_config, run_counts, run_machine, run_preprocessing),
    setting_seeds,
    of_setting,
    longest=1 << 13,
)

# --- keys -----------------------------------------------------------------------------------------


def run_key(data: bytes) -> None:
    read_key(laid("key.pem", data))


def run_certificate(data: bytes) -> None:
    for certificate in read_certificates(laid("certificate.pem", data)):
        Fingerprint.of(certificate.tbs_certificate_bytes)


def run_trusted(data: bytes) -> None:
    laid("store/trusted/peer", data)
    KeyStore(scratch() / "store").trusted()


def run_fingerprint(data: bytes) -> None:
    Fingerprint.parse(data.decode("utf-8", "replace"))


def key_seeds() -> Iterator[bytes]:
    folder = scratch() / "keys"
    shutil.rmtree(folder, ignore_errors=True)
    store = KeyStore(folder)
    store.new("a name", 30)
    yield b"\0" + store.key_file.read_bytes()
    yield b"\1" + store.certificate_file.read_bytes()
    yield b"\2" + f"{FINGERPRINT}\n".encode()
    yield b"\3" + str(FINGERPRINT).encode()


KEYS = Target(
    "keys",
    by_first_byte(run_key, run_certificate, run_trusted, run_fingerprint),
    key_seeds,
    behind_it(of_text),
    longest=1 << 12,
)

# --- logs -----------------------------------------------------------------------------------------


def run_audit(data: bytes) -> None:
    path = laid("audit.jsonl", data)
    AuditLog(path).append({"event": "begun"})
    audit.verify(path)


def run_verify(data: bytes) -> None:
    audit.verify(laid("audit.jsonl", data))


def run_shares(data: bytes) -> None:
    """A server's shares of a cohort, which hold a run of zeros or do not."""
    root = scratch() / "cohorts"
    root.mkdir(mode=0o700, exist_ok=True)
    shelf = Cohorts(root).of("client", "program")
    laid("cohorts/client/program/c.shares", data)
    shelf.load("c", [bytes(16)])


def audit_seeds() -> Iterator[bytes]:
    log = AuditLog(scratch() / "made.jsonl")
    log.path.unlink(missing_ok=True)
    for number in range(3):
        log.append({"event": "begun", "client": "st-mary", "images": number})
    yield b"\0" + log.path.read_bytes()
    yield b"\1" + log.path.read_bytes()
    yield b"\0" + log.path.read_bytes()[:-5]
    yield b"\2" + b"moiety kept shares 1" + (3).to_bytes(4, "little") + bytes(56)


def of_audit(data: bytes, rng: random.Random) -> bytes:
    """Lines changed; mostly chained again."""
    kind = data[:1]
    if kind == b"\2":
        return kind + of_bytes(data[1:], rng)
    made = of_lines(data[1:], rng, rng.choice((of_json, of_json, of_bytes, of_text)))
    return kind + (_chained(made) if rng.randrange(4) else made)


def _chained(data: bytes) -> bytes:
    """With the hash of the line before in every line that is a record."""
    before, made = GENESIS, []
    *lines, torn = data.split(b"\n")
    for line in lines:
        try:
            record = msgspec.json.decode(line)
            line = msgspec.json.encode(record | {"previous": before})
        except (msgspec.MsgspecError, TypeError, RecursionError, UnicodeDecodeError):
            pass
        before = hashlib.sha256(line).hexdigest()
        made.append(line + b"\n")
    return b"".join(made) + torn


AUDIT = Target("audit", by_first_byte(run_audit, run_verify, run_shares), audit_seeds, of_audit)
