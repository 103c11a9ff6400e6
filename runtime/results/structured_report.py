"""Results as DICOM SR: a Comprehensive 3D SR per image, template TID 1500, unverified, in the study
of its source. Needs the extra `sr`, and is found by name.

Of the source's header it copies the patient's and the study's identifying attributes, and nothing
else; no message has a value of them.
"""

from __future__ import annotations

import io
import logging
import re
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import highdicom as hd
import pydicom
from highdicom.sr.coding import CodedConcept
from pydicom.dataset import Dataset
from pydicom.misc import is_dicom
from pydicom.sr.codedict import codes
from pydicom.uid import UID, generate_uid
from pydicom.valuerep import DA, TM

from moiety.protocols.errors import BadInput
from moiety.runtime.intake.text import legible, printable
from moiety.runtime.program import Program
from moiety.runtime.program.atomic import OWNER_ALONE, replacing
from moiety.runtime.results import targets
from moiety.runtime.results.outputs import Format, Output, require_few_values
from moiety.runtime.results.record import (
    ImageResult,
    LeftOut,
    OutputResult,
    Results,
    empty_results,
)

MAX_VALUES = 256
"""Of one output: each becomes a group of the report."""
SERIES_NUMBER = 9001
SERIES_DESCRIPTION = "AI result, not for clinical use"
LONGEST_STRING = 64
"""Of DICOM's LO."""

PATIENT = ("PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex")
STUDY = (
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
    "StudyDescription",
)
REFERENCE = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID")
DATES = {"PatientBirthDate": DA, "StudyDate": DA, "StudyTime": TM}
UTF_8 = "ISO_IR 192"
SEXES = ("M", "F", "O")
CHEST_RADIOGRAPH = CodedConcept("399208008", "SCT", "Plain chest X-ray")
SCORE = CodedConcept("246262008", "SCT", "Score")
CHEST = CodedConcept("816094009", "SCT", "Chest")
"""The intake takes radiographs of the chest alone."""


class NoReport(Exception):
    """Why a file can have no report; names no patient."""


def open_reports(name: str) -> Reports:
    """A folder for reports, made where it is not there yet. Raises `BadInput`."""
    folder = Path(name)
    try:
        if not folder.parent.is_dir():
            raise targets.Unusable(f"there is no folder {printable(folder.parent)}")
        folder.mkdir(mode=0o700, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as trial:
            trial.write(bytes(4096))
    except (OSError, targets.Unusable) as error:
        raise BadInput(
            f"cannot write reports to {printable(name)}: {targets.reason(error)}"
        ) from error
    return Reports(name, folder)


@dataclass
class Reports:
    """A folder of reports, a file each. A report's name is its own UID, which is new each time, so
    that nothing is ever replaced. One series for each study of a run.
    """

    name: str
    folder: Path
    format: Format = "sr"
    without: list[LeftOut] = field(default_factory=list)
    _reported: int = 0
    _written: int = 0
    _series: dict[str, UID] = field(default_factory=dict)

    @property
    def place(self) -> Path:
        return self.folder.resolve()

    def check(self, files: Sequence[Path], program: Program) -> list[LeftOut]:
        """Makes a report of each file, with one value in it."""
        require_few_values(program, MAX_VALUES, "a DICOM report")
        results, outputs = empty_results(program, {}), [blank()]
        self.without = []
        for file in files:
            try:
                encoded(results, outputs, header_of(file), generate_uid(None), 1, False)
            except NoReport as why:
                self.without.append(LeftOut(legible(file), str(why)))
        return self.without

    def save(self, results: Results, files: Sequence[Path], last: bool) -> None:
        for index in range(self._reported, len(results.images)):
            self._report(results, results.images[index], files[index])
            self._reported = index + 1

    def _report(self, results: Results, image: ImageResult, file: Path) -> None:
        try:
            header = header_of(file)
            study = str(header.StudyInstanceUID)
            series = self._series.setdefault(study, generate_uid(None))
            number, doubted = self._written + 1, bool(image.doubts())
            uid, data = encoded(results, image.outputs, header, series, number, doubted)
        except NoReport as why:
            if all(image.file != left.file for left in self.without):
                self.without.append(LeftOut(image.file, str(why)))
            return
        with replacing(self.folder / f"{uid}.dcm", OWNER_ALONE) as temporary:
            temporary.write_bytes(data)
        self._written += 1

    def rescue(self, results: Results, files: Sequence[Path], folder: Path) -> Output:
        """With the reports that are still missing, and those of the images to come."""
        made = Path(tempfile.mkdtemp(prefix="moiety-results-", dir=folder))
        spare = Reports(f"{made}/", made, "sr", self.without)
        spare._reported, spare._written = self._reported, self._written
        spare._series = self._series
        try:
            spare.save(results, files, last=True)
        except OSError:
            shutil.rmtree(made)
            raise
        return spare


def blank() -> OutputResult:
    """A result of one value."""
    return OutputResult(name="", shape=(1,), labels=(), kind="score", formula="", values=[0.0])


@contextmanager
def quiet() -> Iterator[None]:
    """pydicom and highdicom quote values in warnings and logs."""
    loggers = [logging.getLogger(name) for name in ("highdicom", "pydicom")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)  # and of its children
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)


@contextmanager
def header_errors() -> Iterator[None]:
    """What goes wrong with a header becomes a `NoReport` that quotes nothing of it."""
    try:
        yield
    except NoReport:
        raise
    except OSError as error:
        raise NoReport(f"it cannot be read: {targets.reason(error)}") from error
    except Exception as error:
        # Not `from error`: its text may name a patient.
        raise NoReport(
            f"its header has a value that a report cannot have ({type(error).__name__})"
        ) from None


def header_of(file: Path) -> Dataset:
    """What a report takes from its source. Raises `NoReport`."""
    with quiet(), header_errors():
        if not (is_dicom(file) or file.suffix.lower() == ".dcm"):
            raise NoReport("it is not a DICOM file")
        source = pydicom.dcmread(file, stop_before_pixels=True, force=True)
        missing = [word for word in REFERENCE if not is_uid(source.get(word))]
        if missing:
            raise NoReport(f"its header has no valid {missing[0]}")
        header = Dataset()
        for keyword in (*PATIENT, *STUDY):
            setattr(header, keyword, source.get(keyword) or "")
        for keyword, kind in DATES.items():
            if not is_valid(kind, header.get(keyword)):
                setattr(header, keyword, "")
        for keyword in REFERENCE:
            setattr(header, keyword, source.get(keyword))
        if header.PatientSex not in SEXES:
            header.PatientSex = ""
        for keyword in ("IssuerOfPatientID", "StudyDescription"):  # not empty, where they are
            if not header.get(keyword):
                delattr(header, keyword)
        return header


def is_uid(value: object) -> bool:
    """Digits and dots; real ones break the finer rules."""
    return isinstance(value, UID) and re.fullmatch(r"[0-9.]{1,64}", value) is not None


def is_valid(kind: Callable[[str], object], value: str) -> bool:
    """Whether a date or a time is one; scanners write 00000000 for an unknown one."""
    try:
        kind(value)
    except (TypeError, ValueError):
        return False
    return True


def encoded(
    results: Results,
    outputs: Sequence[OutputResult],
    header: Dataset,
    series: UID,
    number: int,
    doubted: bool,
) -> tuple[UID, bytes]:
    """A report, its UID and its file. doubted: what was revealed is out of range. Raises
    `NoReport`.
    """
    uid = generate_uid(None)
    with quiet():
        content = hd.sr.MeasurementReport(
            observation_context=observation_context(results),
            procedure_reported=CHEST_RADIOGRAPH,
            imaging_measurements=list(groups(results, outputs, header, doubted)),
        )
    with quiet(), header_errors():
        report = hd.sr.Comprehensive3DSR(
            evidence=[header],
            content=content,
            series_instance_uid=series,
            series_number=SERIES_NUMBER,
            series_description=SERIES_DESCRIPTION,
            sop_instance_uid=uid,
            instance_number=number,
            manufacturer="Moiety",
            manufacturer_model_name=long_string(model_of(results)),
            software_versions=long_string(results.versions.get("moiety", "unknown")),
            is_complete=True,
            is_final=False,
            is_verified=False,
            specific_character_set=UTF_8,
        )
        stream = io.BytesIO()
        report.save_as(stream, enforce_file_format=True)
        return uid, stream.getvalue()


def observation_context(results: Results) -> hd.sr.ObservationContext:
    """The device that observed: this software with this Program."""
    device = hd.sr.DeviceObserverIdentifyingAttributes(
        uid=f"2.25.{int(results.program[:32], 16)}",
        name="Moiety",
        manufacturer_name="Moiety",
        model_name=model_of(results),
        serial_number=f"sha256:{results.program}",
    )
    return hd.sr.ObservationContext(
        observer_device_context=hd.sr.ObserverContext(
            observer_type=codes.DCM.Device, observer_identifying_attributes=device
        )
    )


def model_of(results: Results) -> str:
    """A name that is never empty."""
    return printable(results.model_name) or "unnamed model"


def groups(
    results: Results, outputs: Sequence[OutputResult], header: Dataset, doubted: bool
) -> Iterator[hd.sr.MeasurementsAndQualitativeEvaluations]:
    """One for each label of each output. The label is the tracking identifier, in the vendor's own
    words: a code would be a guess at what the vendor means (docs/decisions/0021).
    """
    source = hd.sr.SourceImageForMeasurementGroup(header.SOPClassUID, header.SOPInstanceUID)
    for output in outputs:
        for index, (label, value) in enumerate(zip(output.names(), output.values, strict=True)):
            if value is None:
                continue  # a measurement without a number is none
            label = f"{label}: {output.chosen[index]}" if output.chosen else label
            name = printable(label).strip()
            yield hd.sr.MeasurementsAndQualitativeEvaluations(
                tracking_identifier=hd.sr.TrackingIdentifier(
                    uid=generate_uid(None),
                    identifier=name if len(outputs) == 1 else f"{printable(output.name)}: {name}",
                ),
                finding_sites=[hd.sr.FindingSite(CHEST)],
                algorithm_id=algorithm(results),
                measurements=[measurement(output, value, doubted)],
                source_images=[source],
            )


def long_string(text: str) -> str:
    """As DICOM's LO can hold it."""
    short = text.replace("\\", "/").encode()[:LONGEST_STRING]
    return short.decode(errors="ignore").strip() or "unnamed"


def measurement(output: OutputResult, value: float, doubted: bool) -> hd.sr.Measurement:
    """A probability as certainty in percent; anything else, as one whose operating point was moved,
    as a score without a unit. One that is doubted is qualified.
    """
    qualifier = codes.DCM.ValueOutOfRange if doubted else None
    if output.kind == "probability":
        name, value, unit = codes.DCM.CertaintyOfFinding, 100 * value, codes.UCUM.Percent
    else:
        name, unit = SCORE, codes.UCUM.NoUnits
    return hd.sr.Measurement(name=name, value=value, unit=unit, qualifier=qualifier)


def algorithm(results: Results) -> hd.sr.AlgorithmIdentification:
    """TID 4019."""
    parameters = [
        f"program=sha256:{results.program}",
        f"preprocessing=sha256:{results.preprocessing_sha256 or 'none'}",
        f"rounding={results.rounding}",
        "secure two-party computation",
    ]
    return hd.sr.AlgorithmIdentification(
        name=model_of(results),
        version=printable(results.model_version) or f"sha256:{results.program[:16]}",
        family=codes.DCM.ArtificialIntelligence,
        parameters=parameters,
    )
