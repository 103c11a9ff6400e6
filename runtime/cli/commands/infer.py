"""Run images through a vendor's server without showing them to it (hospital).

The Program says how pictures are resized and normalised; NPY files of floats are taken as the
model's input as they are. Every image is accepted, accepted with warnings, or refused with a
reason, and all outputs are tried, before anything is sent. While the server works for another
client this one waits its turn.

Runs that were prepared ahead (moiety prepare) are taken first; without them all is computed now.

Results are JSON, CSV or DICOM SR, several at once. When the connection breaks, a new one goes on
with the first image that has no result; when that fails, too, the results so far are kept.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated

import typer

from moiety.protocols.errors import BadInput, MoietyError
from moiety.runtime.cli import ui
from moiety.runtime.cli.line import credentials_for
from moiety.runtime.cli.operation import AuditOption
from moiety.runtime.cli.options import (
    AuthorityOption,
    BitDepthOption,
    CertificateOption,
    ConnectOption,
    ImagesArgument,
    InputOption,
    InsecureOption,
    KeepGoingOption,
    KeyOption,
    KeysOption,
    OtOption,
    PeerOption,
    ProgramArgument,
    RecursiveOption,
    SilenceOption,
    ThreadsOption,
    assignments,
)
from moiety.runtime.cli.prepared import OnDemandOption, Shelf, SkipOption, StoreOption
from moiety.runtime.cli.programs import open_program
from moiety.runtime.cli.progress import watching
from moiety.runtime.cli.result_tables import left_out_lines, result_table, verdict_line
from moiety.runtime.cli.verdicts import Given
from moiety.runtime.intake.loader import Reader
from moiety.runtime.intake.text import printable
from moiety.runtime.operation.audit import AuditLog
from moiety.runtime.operation.events import Started
from moiety.runtime.operation.recorder import Recorder
from moiety.runtime.party.client import Client, Connection
from moiety.runtime.party.cohorts import check_reveals_images
from moiety.runtime.party.endpoints import parse_address
from moiety.runtime.party.framing import Limits
from moiety.runtime.party.generator_choice import parse_ot
from moiety.runtime.party.handshake import package_version
from moiety.runtime.party.memory import keep_freed
from moiety.runtime.party.signals import Stopped
from moiety.runtime.program.progress import Progress, no_progress
from moiety.runtime.results.inference import Cohort
from moiety.runtime.results.outputs import Format, Outputs, encode_json, open_outputs
from moiety.runtime.results.record import ImageResult, Results
from moiety.runtime.results.retry import Attempts, Retries

EXAMPLES = (
    "moiety infer model.moiety x-ray.png --connect vendor.example:7700",
    "moiety infer model.moiety cohort.csv more-images/ --connect 10.0.0.7:7700 --batch 16 "
    "-o cohort.json -o cohort.csv",
    "moiety infer model.moiety x-ray.png --input clinical=63,1 --connect 10.0.0.7:7700",
    "moiety infer model.moiety study/ --connect 10.0.0.7:7700 -o results.json -o reports/",
)


def command(
    folder: ProgramArgument,
    images: ImagesArgument,
    beside: InputOption = None,
    connect: ConnectOption = "127.0.0.1:7700",
    output: Annotated[
        list[str] | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Where results go: FILE.json, FILE.csv, FOLDER/ (a DICOM SR per DICOM image) or - "
            "(standard output); may be given several times. Files are rewritten, whole, after each "
            "image; pipes and devices are written at the end.  \\[default: results.json]",
        ),
    ] = None,
    format: Annotated[
        Format | None,
        typer.Option(
            "--format",
            help="Format of outputs whose name does not say it; JSON if neither does.",
            show_default=False,
        ),
    ] = None,
    timeout: SilenceOption = 60.0,
    batch: Annotated[
        int,
        typer.Option(
            min=1,
            max=64,
            metavar="N",
            help="Images that may share one run, where the server offers it: less traffic and "
            "fewer rounds per image.",
        ),
    ] = 1,
    threads: ThreadsOption = 1,
    ot: OtOption = "auto",
    recursive: RecursiveOption = False,
    keep_going: KeepGoingOption = None,
    bit_depth: BitDepthOption = None,
    keys: KeysOption = None,
    peer: PeerOption = None,
    cert: CertificateOption = None,
    key: KeyOption = None,
    ca: AuthorityOption = None,
    insecure: InsecureOption = False,
    retries: Annotated[
        int,
        typer.Option(
            min=0,
            metavar="N",
            help="New connections after one that broke, in a row without a new result. The run "
            "that broke counts twice in a quota.",
        ),
    ] = 3,
    audit: AuditOption = None,
    store: StoreOption = None,
    on_demand: OnDemandOption = False,
    keep: Annotated[
        int,
        typer.Option(
            min=0,
            metavar="K",
            help="Afterwards prepare until K runs of --batch images are ready again.",
        ),
    ] = 0,
    skip_to: SkipOption = 0,
) -> None:
    if on_demand and skip_to and not keep:
        raise BadInput("--on-demand takes nothing that was prepared: --skip-to skips nothing there")
    ui.one_thread()
    keep_freed()
    host, port = parse_address(connect)
    credentials = credentials_for(host, keys, cert, key, ca, insecure, peer)
    generator = parse_ot(ot)
    given = Given(images, recursive, keep_going, bit_depth, assignments(beside))
    outputs = Outputs(open_outputs(output or (), format), ui.warn)
    program = open_program(folder)
    check_reveals_images(program)
    found = given.collected()
    reader = Reader.of(program, bit_depth, found.rows)
    cohort = Cohort.of(given.admitted(reader, found))
    for name, files in outputs.check(cohort.files, program).items():
        for line in left_out_lines(f"without a report in {printable(name)}", files):
            ui.say(line)
    recorder = Recorder("client", program.digest(), AuditLog(audit) if audit else None)
    recorder.record(Started(release=package_version()))
    if program.policy.reveal != "scores":
        ui.say(f"reveals {program.policy_in_words()}")
    told = Told(len(cohort.files))
    limits = Limits(silence=timeout)
    shelf = Shelf(store, folder, keys, on_demand, skip_to)
    try:
        with watching("inference") as watch:
            client = Client(
                program,
                ot=generator,
                batch=min(batch, len(cohort.files)),
                threads=threads,
                on_wait=told.wait,
                on_empty=shelf.empty,
                progress=told.naming(watch),
            )

            def joined() -> Connection:
                connection = client.connect(host, port, limits, credentials, insecure)
                shelf.met(connection)
                return connection

            attempts = Attempts(
                connect=joined,
                cohort=cohort,
                outputs=outputs,
                reader=reader,
                retries=Retries(retries, say=ui.warn),
                on_image=told.image,
                recorder=recorder,
            )
            results = attempts.run()
    except (MoietyError, Stopped):
        if told.done:
            ui.say(
                f"{told.done} of {told.total} images were finished; "
                f"their results are in {outputs.names()}"
            )
        print_lost(outputs)
        raise
    report(results, outputs)
    if keep:
        topping = replace(client, on_wait=told.wait, progress=no_progress)
        with topping.connect(host, port, limits, credentials, insecure) as connection:
            shelf.top_up(connection, client.batch, keep)


@dataclass
class Told:
    """What is said while images are run, and how many are done."""

    total: int
    done: int = 0

    def naming(self, watch: Progress) -> Progress:
        """Progress through the steps of a run, with the image that it began with."""

        def named(done: int, total: int, what: str) -> None:
            watch(done, total, f"image {min(self.done + 1, self.total)} of {self.total}, {what}")

        return named

    def wait(self, ahead: int) -> None:
        """The server has `ahead` clients before this one; 0: it is not ready yet."""
        ui.say(
            f"the server is busy, waiting: {ahead} ahead"
            if ahead
            else "the server is getting ready, waiting"
        )

    def image(self, result: ImageResult) -> None:
        self.done += 1
        file = printable(result.file)
        ui.say(f"{self.done} of {self.total}: {file} in {result.seconds:.2f} s")
        for warning in result.doubts():
            ui.warn(f"{file}: {warning.code}: {printable(warning.text)}")


def report(results: Results, outputs: Outputs) -> None:
    """A table of the results, and a line of what they took. Raises `BadInput` where an output
    failed after the work was done.
    """
    for_people = outputs.on_stdout()  # on standard error, where the other is for results
    ui.show(result_table(results, ui.console(for_people)), for_people)
    ui.say(
        f"{verdict_line(results)}, in {results.seconds:.2f} s and "
        f"{results.setup_seconds:.2f} s of set-up; {ui.megabytes(results.bytes_sent)} sent, "
        f"{ui.megabytes(results.bytes_received)} received; everything is in {outputs.names()}"
    )
    print_lost(outputs)
    require_kept(outputs)


def print_lost(outputs: Outputs) -> None:
    """The results, where no file could be found for them."""
    if outputs.lost() and outputs.results is not None:
        print(encode_json(outputs.results).decode(), flush=True)


def require_kept(outputs: Outputs) -> None:
    """Raises `BadInput` where an output failed."""
    if outputs.moved:
        raise BadInput(
            "; ".join(
                f"cannot write the results to {printable(moved.name)}: {moved.why}; they are "
                + (f"in {printable(moved.now)}" if moved.now else "on standard output, as JSON")
                for moved in outputs.moved
            )
        )
