"""Evaluate a model on a labelled cohort without showing it to the vendor (hospital).

COHORT.csv names the images (column `file`, relative to the list, or `SOPInstanceUID` with --images)
and says what is known of them: a column per label of the model (1, 0, empty for unknown, -1 for
uncertain with --uncertain), and where there are such, `site` and `patient`. Everything is checked
before anything is sent.

Every finished image is kept in a journal in the study's folder. Start the same command again after
any end, kill -9 too, and it goes on with the images that have no result; at most sessions x batch
of them are run a second time. At the end stands the report: report.html, report.json, tables/.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from moiety.protocols.errors import BadInput, MoietyError
from moiety.runtime.cli import study_tables, ui
from moiety.runtime.cli.line import key_files_for
from moiety.runtime.cli.operation import AuditOption
from moiety.runtime.cli.options import (
    AuthorityOption,
    BitDepthOption,
    CertificateOption,
    InsecureOption,
    KeepGoingOption,
    KeyOption,
    KeysOption,
    OtOption,
    ThreadsOption,
)
from moiety.runtime.cli.options import pairs as assigned
from moiety.runtime.cli.pairs import ClusterOption, CpusOption, PairsOption, room_for, workers_of
from moiety.runtime.cli.prepared import (
    OnDemandOption,
    StoreOption,
    folder_at,
    holds,
    nothing_in,
)
from moiety.runtime.cli.programs import open_program
from moiety.runtime.cli.progress import watching
from moiety.runtime.cli.study_options import (
    BatchOption,
    BootstrapOption,
    GigabyteOption,
    HourOption,
    ImagesFolderOption,
    LabelOption,
    LimitOption,
    MarginOption,
    NetworkOption,
    PatientOption,
    ReferenceLabelOption,
    ReferenceOption,
    ResultOption,
    RetriesOption,
    SeedOption,
    SessionsOption,
    SiteOption,
    TimeoutOption,
    TitleOption,
    UncertainOption,
)
from moiety.runtime.cli.study_view import following
from moiety.runtime.cli.verdicts import say as say_verdicts
from moiety.runtime.cluster.placement import Room
from moiety.runtime.intake.text import printable
from moiety.runtime.party.endpoints import parse_address
from moiety.runtime.party.generator_choice import parse_ot
from moiety.runtime.party.keystore import default_store
from moiety.runtime.party.signals import Stopped
from moiety.runtime.program import Program
from moiety.runtime.results.retry import Retries
from moiety.runtime.study import evaluate as study
from moiety.runtime.study.aggregate import ask
from moiety.runtime.study.cohort import Columns
from moiety.runtime.study.forecast import Prices, forecast
from moiety.runtime.study.journal import Journal
from moiety.runtime.study.prepare import Prepared, StudyOptions, prepare
from moiety.runtime.study.session import SessionPlan

EXAMPLES = (
    "moiety evaluate model.moiety cohort.csv --connect vendor.example:7700 -o study/ --dry-run",
    "moiety evaluate model.moiety cohort.csv --connect vendor.example:7700 -o study/ --sessions 4",
    "moiety evaluate model.moiety cohort.csv -o study/ --reference scores.csv --report-only",
    "moiety evaluate model.moiety cohort.csv -o study/ --status",
)


def command(
    public: Annotated[
        Path,
        typer.Argument(
            metavar="MODEL.moiety",
            help="The Program, as got from the vendor.",
            show_default=False,
        ),
    ],
    cohort: Annotated[
        Path,
        typer.Argument(
            metavar="COHORT.csv", help="Images, labels, sites, patients.", show_default=False
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="FOLDER",
            help="The study's folder: its journal and its report. Made if it is not there, for its "
            "owner alone.",
            show_default=False,
        ),
    ],
    connect: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="The vendor's server.")
    ] = "127.0.0.1:7700",
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Check all and say what it would take; send nothing."),
    ] = False,
    status: Annotated[
        bool,
        typer.Option("--status", help="Say how far the study in FOLDER has come; run nothing."),
    ] = False,
    report_only: Annotated[
        bool,
        typer.Option("--report-only", help="Make the report again from the journal; run nothing."),
    ] = False,
    images: ImagesFolderOption = None,
    label: LabelOption = None,
    uncertain: UncertainOption = None,
    site_column: SiteOption = None,
    patient_column: PatientOption = None,
    result: ResultOption = None,
    bit_depth: BitDepthOption = None,
    keep_going: KeepGoingOption = None,
    reference: ReferenceOption = None,
    reference_label: ReferenceLabelOption = None,
    margin: MarginOption = 0.01,
    bootstrap: BootstrapOption = 2000,
    seed: SeedOption = 0,
    title: TitleOption = "",
    batch: BatchOption = 1,
    sessions: SessionsOption = 1,
    limit: LimitOption = None,
    threads: ThreadsOption = 1,
    ot: OtOption = "auto",
    timeout: TimeoutOption = 60.0,
    retries: RetriesOption = 3,
    network: NetworkOption = "lan",
    price_per_hour: HourOption = None,
    price_per_gb: GigabyteOption = None,
    keys: KeysOption = None,
    peer: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Whom of those that are trusted (moiety keys list) the server must be.",
            show_default=False,
        ),
    ] = None,
    cert: CertificateOption = None,
    key: KeyOption = None,
    ca: AuthorityOption = None,
    insecure: InsecureOption = False,
    audit: AuditOption = None,
    cluster: ClusterOption = None,
    pairs: PairsOption = None,
    worker_cpus: CpusOption = None,
    store: StoreOption = None,
    on_demand: OnDemandOption = False,
) -> None:
    ui.one_thread()
    _check_elsewhere(cluster, sessions, store)
    room = room_for(cluster, pairs, worker_cpus, threads)
    sessions = room.workers if room else sessions
    if dry_run + status + report_only > 1:
        raise BadInput("--dry-run, --status and --report-only exclude each other; give one of them")
    sends = not (dry_run or status or report_only)
    host, port = parse_address(connect)
    files = key_files_for(host, keys, cert, key, ca, insecure, peer) if sends else None
    if files:
        files.read()  # what is wrong with them is known before the images are read
    program = open_program(public)
    takes = not (on_demand or room)
    plan = SessionPlan(
        program=program,
        host=host,
        port=port,
        timeout=timeout,
        keys=files,
        insecure=insecure,
        ot=parse_ot(ot),
        batch=batch,
        threads=threads,
        bit_depth=bit_depth,
        audit=audit,
        store=_store(store, public, program, keys, sends) if takes else None,
        store_keys=keys or default_store(),
    )
    options = StudyOptions(
        columns=Columns(assigned(label, "--label"), site_column, patient_column, uncertain),
        images=images,
        result=result,
        reference=reference,
        reference_labels=assigned(reference_label, "--reference-label"),
        keep_going=keep_going is not False,
        limit=limit,
        sessions=sessions,
        name=title,
        margin=margin,
        bootstrap=bootstrap,
        seed=seed,
    )
    prices = Prices(price_per_hour, price_per_gb)
    if sends or report_only:
        study.require_extras()
    prepared = _prepared(plan, cohort, options)
    found = study.check_folder(prepared, output)
    pending = prepared.pending(found)
    ui.show(study_tables.cohort_table(prepared), stderr=True)
    for line in study_tables.cohort_lines(prepared):
        ui.say(line)
    if found is not None:
        ui.say(study_tables.status_line(prepared, found, prices))
    if dry_run:
        predicted = forecast(plan.program, network, plan.ot, min(batch, max(1, len(pending))))
        ui.show(study_tables.forecast_table(predicted, len(pending), sessions, prices))
    elif status:
        _show_status(prepared, found, output)
    else:
        _run(prepared, output, Retries(retries, say=ui.warn), prices, report_only, room)


def _check_elsewhere(cluster: str | None, sessions: int, store: Path | None) -> None:
    """Raises `BadInput` for what workers on other machines would not heed."""
    if cluster is None:
        return
    if sessions > 1:
        raise BadInput("--sessions is of this machine; --cluster has --pairs")
    if store is not None:
        raise BadInput(
            "--store: what is prepared lies on this machine, and workers of --cluster take nothing "
            "of it; give one of the two"
        )


def _store(
    given: Path | None, public: Path, program: Program, keys: Path | None, says: bool
) -> Path | None:
    """Where runs lie that were prepared ahead for this Program; None where there are none, which is
    said where it matters.
    """
    folder = folder_at(given, public)
    if not folder.is_dir():
        if given is not None and says:
            ui.say(nothing_in(given))
        return None
    if holds(folder, program, keys):
        return folder
    if says:
        ui.say(nothing_in(folder, " for this Program"))
    return None


def _prepared(plan: SessionPlan, cohort: Path, options: StudyOptions) -> Prepared:
    with watching("reading images") as watch:
        prepared = prepare(plan, cohort, options, lambda done, total: watch(done, total, ""))
    say_verdicts(prepared.intake)
    return prepared


def _show_status(prepared: Prepared, found: Journal | None, folder: Path) -> None:
    if found is None:
        raise BadInput(f"{printable(folder)}: there is no study yet; begin it without --status")
    ui.show(study_tables.status_table(prepared, found))


def _run(
    prepared: Prepared,
    folder: Path,
    retries: Retries,
    prices: Prices,
    report_only: bool,
    room: Room | None,
) -> None:
    if report_only:
        journal = Journal.look(folder)
        if journal is None:
            raise BadInput(f"{printable(folder)}: there is no study yet to report on")
    else:
        prepared, journal = study.begin(prepared, folder, ui.warn)
        if prepared.plan.store is not None:
            ui.say(
                f"runs that were prepared with this server in {printable(prepared.plan.store)} are "
                "taken, by one session; all else is computed on demand"
            )
    try:
        if not report_only:
            _run_images(prepared, journal, retries, prices, room)
            if study.aggregate_is_due(prepared, journal):
                with watching("the aggregate") as watch:
                    ask(prepared, journal, retries, watch)
            elif not prepared.plan.program.policy.tells_of_images:
                ui.say(study_tables.status_line(prepared, journal, prices))
                ui.say("the aggregate is asked for when all are: the same command without --limit")
                return
        made = study.study_of(prepared, journal)
        with watching("statistics and report") as watch:
            watch(0, 0, "computing")
            analysis = study.write(made, folder)
    finally:
        journal.close()
    ui.show(study_tables.result_table(analysis))
    for doubt in analysis.doubts:
        ui.warn(doubt)
    ui.say(
        f"{study_tables.status_line(prepared, journal, prices)}; the report is "
        f"{printable(folder / 'report.html')}"
    )


def _run_images(
    prepared: Prepared, journal: Journal, retries: Retries, prices: Prices, room: Room | None
) -> None:
    before = len(journal.images)
    try:
        with (
            following(prepared, journal, prices) as view,
            workers_of(prepared.plan, room) as elsewhere,
        ):
            workers = elsewhere or study.local_workers(prepared, view.waits)
            study.run(prepared, journal, workers, retries, view)
    except (MoietyError, Stopped):
        done = len(journal.images)
        ui.say(
            f"{done} of {ui.images(len(prepared.lines))} are finished ({done - before} of them "
            "now); the same command goes on with the others"
        )
        raise
