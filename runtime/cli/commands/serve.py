"""Serve a compiled model to hospitals (vendor).

Prints `listening HOST:PORT` and logs one line per event to stderr. Clients with another Program or
release are refused; whatever else connects is dropped. Each client has a process of its own:
one that fails, hangs or takes longer than it may ends its own session only. SIGINT or SIGTERM stops
the server at once, in good order, with exit code 0.

Beyond this machine both sides need keys, and trust in each other's (moiety keys), or --insecure.
"""

from __future__ import annotations

import logging
from typing import Annotated

import typer

from moiety.protocols.errors import BadInput
from moiety.protocols.parallel import Workers
from moiety.runtime.cli import ui
from moiety.runtime.cli.line import in_words, key_files_for
from moiety.runtime.cli.logs import LogFormat, start_log
from moiety.runtime.cli.operation import (
    AccessOption,
    AuditOption,
    CohortsOption,
    CountsOption,
    KeepCohortsOption,
    LogFileOption,
    LogFormatOption,
    MetricsOption,
    access_list,
    audit_of_server,
    health_at,
    warn_of_aggregates,
)
from moiety.runtime.cli.options import (
    AuthorityOption,
    CertificateOption,
    CompiledArgument,
    InsecureOption,
    KeyOption,
    KeysOption,
    OtOption,
    ThreadsOption,
    sizes,
    warn_of,
)
from moiety.runtime.cli.pairs import (
    ClusterOption,
    CpusOption,
    FrontOption,
    PairsOption,
    StdinOption,
    WorkerOptions,
    WorkerPortsOption,
    check_ports,
    check_roles,
    placer,
    room_for,
    watch_stdin,
)
from moiety.runtime.cli.prepared import PreparedItemsOption, PreparedOption, cellar_of_server
from moiety.runtime.cli.progress import watching
from moiety.runtime.intake.text import printable
from moiety.runtime.operation.events import Started
from moiety.runtime.operation.recorder import Recorder
from moiety.runtime.party.endpoints import Listener, parse_address, parse_listen
from moiety.runtime.party.executor import ServerExecutor
from moiety.runtime.party.generator_choice import parse_ot
from moiety.runtime.party.handshake import package_version
from moiety.runtime.party.memory import keep_freed
from moiety.runtime.party.server import Server, ServerOptions
from moiety.runtime.party.server.admission import Admission
from moiety.runtime.party.server.cohorts import Cohorts, check_shelves
from moiety.runtime.party.server.front import Front
from moiety.runtime.party.server.operation import Door, Watch
from moiety.runtime.party.server.worker import AtFront
from moiety.runtime.party.signals import Stopped, stay_on_hangup
from moiety.runtime.program import artifacts

log = logging.getLogger("moiety.server")

EXAMPLES = (
    "moiety serve compiled/ --listen 0.0.0.0:7700",
    "moiety serve compiled/ --listen 127.0.0.1:0 --once     [dim](any free port; prints it)[/dim]",
    "moiety serve compiled/ --listen 0.0.0.0:7700 --cluster auto --pairs 16",
    "moiety serve compiled/ --sessions 4 --batch 4,16 --threads 2",
    "moiety serve compiled/ --cohorts cohorts/              [dim](policy aggregate)[/dim]",
    "moiety serve compiled/ --listen 0.0.0.0:7700 --cert vendor.pem --key vendor.key --ca pki.pem",
)


def command(
    folder: CompiledArgument,
    listen: Annotated[
        str,
        typer.Option(
            metavar="HOST:PORT",
            help="Where to listen; port 0 takes any free one, 7700-7709 the first free one. "
            "0.0.0.0 is every network of this machine.",
        ),
    ] = "127.0.0.1:7700",
    once: Annotated[
        bool, typer.Option("--once", help="Stop after one client; the same as --max-clients 1.")
    ] = False,
    max_clients: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Stop after N clients were served, however they ended.",
            show_default=False,
        ),
    ] = None,
    sessions: Annotated[
        int,
        typer.Option(
            min=1,
            metavar="N",
            help="Clients served at once. They share weights and hints; each takes --threads "
            "threads, and memory for its own run.",
        ),
    ] = 1,
    waiting: Annotated[
        int,
        typer.Option(
            min=0,
            metavar="N",
            help="Clients that may wait for a place; further ones are told when to come back.",
        ),
    ] = 8,
    setup_seconds: Annotated[
        float,
        typer.Option(min=1, metavar="S", help="What the set-up of a session may take."),
    ] = 120.0,
    idle_seconds: Annotated[
        float,
        typer.Option(min=1, metavar="S", help="How long a client may pause between two runs."),
    ] = 120.0,
    run_seconds: Annotated[
        float | None,
        typer.Option(
            min=1,
            metavar="S",
            help="What one run may take; without it 20 times what its cost predicts, and its bytes "
            "at --min-rate.",
            show_default=False,
        ),
    ] = None,
    session_seconds: Annotated[
        float,
        typer.Option(min=1, metavar="S", help="What a session may take in all."),
    ] = 12 * 3600.0,
    min_rate: Annotated[
        float,
        typer.Option(
            min=0,
            metavar="KB/S",
            help="A transfer that is slower for a minute ends the session.",
        ),
    ] = 100.0,
    batch: Annotated[
        str,
        typer.Option(
            metavar="B,...",
            help="Numbers of images that a client may put into one run, besides 1: less traffic "
            "and fewer rounds per image, more memory. Each takes its own preparation.",
        ),
    ] = "1",
    threads: ThreadsOption = 1,
    hint_file: Annotated[
        bool,
        typer.Option(
            "--hint-file/--no-hint-file",
            help="Keep what is prepared from the weights beside them (hints*.safetensors, as "
            "secret as they are), for the next start.",
        ),
    ] = True,
    ot: OtOption = "auto",
    keys: KeysOption = None,
    cert: CertificateOption = None,
    key: KeyOption = None,
    ca: AuthorityOption = None,
    insecure: InsecureOption = False,
    access: AccessOption = None,
    counts: CountsOption = None,
    cohorts: CohortsOption = None,
    keep_cohorts: KeepCohortsOption = 30.0,
    prepared: PreparedOption = None,
    prepared_items: PreparedItemsOption = 64,
    audit: AuditOption = None,
    no_audit: Annotated[
        bool,
        typer.Option(
            "--no-audit",
            help="Keep no audit log; without --audit it is audit.jsonl in the compiled folder.",
        ),
    ] = False,
    metrics: MetricsOption = None,
    log_file: LogFileOption = None,
    log_format: LogFormatOption = LogFormat.text,
    cluster: ClusterOption = None,
    pairs: PairsOption = None,
    worker_cpus: CpusOption = None,
    worker_ports: WorkerPortsOption = "0",
    front: FrontOption = None,
    stop_with_stdin: StdinOption = False,
) -> None:
    own = [("--access", access), ("--audit", audit), ("--max-clients", max_clients or once)]
    check_roles(cluster, front, own)
    if cluster and sessions > 1:
        raise BadInput("--sessions is of a server that computes itself; --cluster has --pairs")
    cellar = cellar_of_server(prepared, prepared_items, keys, bool(front or cluster))
    room = room_for(cluster, pairs, worker_cpus, threads)
    check_ports(worker_ports, room)
    ui.one_thread()
    keep_freed()
    start_log(log_file, log_format)
    if access or log_file:
        stay_on_hangup()
    host, ports = parse_listen(listen)
    files = key_files_for(host, keys, cert, key, ca, insecure)
    credentials = files.read() if files else None
    health = health_at(metrics)  # before weights are read and threads begin
    if health is not None:
        log.info("health and metrics at %s", health.address)
    allowed = access_list(access, counts)
    shelves = Cohorts.at(cohorts, keep_cohorts) if cohorts else None
    batches = tuple(sorted({1, *(sizes(batch, "--batch") or ())}))
    generator = parse_ot(ot)
    program, weights = artifacts.load_vendor(folder)
    executor = ServerExecutor(program, weights, batches)
    check_shelves(program, shelves)
    if cohorts and program.policy.tells_of_images:
        ui.warn(
            f"--cohorts {printable(cohorts)} is not used: it is for Programs of the policy "
            f"`aggregate`, and this one's is `{program.policy.reveal}`"
        )
    warn_of(program.rounding)
    if front is None:  # a worker's front has the access file
        warn_of_aggregates(program.policy, allowed)
    audit_log = audit_of_server(folder, audit, not no_audit) if front is None else None
    recorder = Recorder("server", program.digest(), audit_log, health)
    recorder.record(Started(release=package_version()))
    believed = credentials.with_own() if credentials and room else credentials
    listener = Listener.at(host, ports, None, believed, insecure)
    log.info(
        "preparing '%s', Program %s..., %s rounding",
        program.name,
        program.digest()[:16],
        program.rounding,
    )
    log.info("reveals %s", program.policy_in_words())
    options = ServerOptions(
        max_clients=1 if once else max_clients,
        sessions=sessions,
        waiting=waiting,
        setup_seconds=setup_seconds,
        idle_seconds=idle_seconds,
        run_seconds=run_seconds,
        session_seconds=session_seconds,
        min_rate=1e3 * min_rate,
        ot=generator,
        threads=threads,
    )
    door: Admission = Door(recorder, allowed)
    if front is not None:
        door = AtFront(program, *parse_address(front), credentials, insecure)
    if room is None:
        server = Server(
            executor, listener, options, door, Watch(recorder), cohorts=shelves, cellar=cellar
        )
    else:
        of_workers = WorkerOptions(
            folder=folder,
            cohorts=cohorts,
            batch=batch,
            threads=threads,
            ot=ot,
            hint_file=hint_file,
            setup_seconds=setup_seconds,
            idle_seconds=idle_seconds,
            run_seconds=run_seconds,
            session_seconds=session_seconds,
            min_rate=min_rate,
            keys=files,
            insecure=insecure,
        )
        place = placer(room, (host, listener.port), of_workers, worker_ports)
        server = Front(
            executor, listener, options, door, Watch(recorder), cohorts=shelves, place=place
        )
    if stop_with_stdin:
        watch_stdin(server.loop)

    def prepare() -> None:
        with watching("preparing") as watch, Workers(threads) as workers:
            kept = artifacts.weights_file(folder) if hint_file else None
            executor.prepare(watch, kept, workers)

    print(f"listening {listener.address}", flush=True)
    log.info("listening at %s, %s", listener.address, in_words(credentials))
    try:
        server.run(None if room else prepare)  # a front computes nothing
    except Stopped as stopped:
        log.info("stopping: %s", stopped)
    log.info("ended: %s", server.summary.line())
