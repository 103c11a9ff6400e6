"""Whether a header describes a frontal radiograph of a human chest, made to be looked at.

A header that says otherwise is refused; one that does not say is warned of.
"""

from __future__ import annotations

from collections.abc import Iterator

from moiety.runtime.intake.dicom import words
from moiety.runtime.intake.dicom.header import Header, Refused, is_uid
from moiety.runtime.intake.dicom.words import is_unstated, shown, spoken
from moiety.runtime.intake.picture import Warned

_STORAGE = "1.2.840.10008.5.1.4.1.1."
CR_STORAGE, DX_STORAGE = f"{_STORAGE}1", f"{_STORAGE}1.1"
FOR_PROCESSING = f"{_STORAGE}1.1.1"
SECONDARY_CAPTURE = f"{_STORAGE}7"
MODALITIES = {CR_STORAGE: "CR", DX_STORAGE: "DX", FOR_PROCESSING: "DX"}

NOT_IMAGES = {
    "1.2.840.10008.1.3.10": "a DICOMDIR, an index of other files",
    f"{_STORAGE}88": "a structured report",
    f"{_STORAGE}11": "a presentation state",
    f"{_STORAGE}104": "an encapsulated document",
    f"{_STORAGE}9": "a waveform",
}
"""SOP classes, and their sub-classes, of files that lie among images."""


LOSSY = frozenset(f"1.2.840.10008.1.2.4.{n}" for n in (50, 51, 81, 91, 203))
"""Transfer syntaxes that lose something, or may."""


def within(uid: str, family: str) -> bool:
    return uid == family or uid.startswith(f"{family}.")


def not_an_image(sop_class: str) -> str | None:
    """What a file of this SOP class is, if it is of no image."""
    return next((what for family, what in NOT_IMAGES.items() if within(sop_class, family)), None)


def check_meaning(header: Header, sop_class: str) -> Iterator[Warned]:
    """All that the header says of what is to be seen. Raises `Refused`."""
    yield from _modality(header, sop_class)
    _for_presentation(header, sop_class)
    yield from _body_part(header)
    yield from _view(header)
    yield from _orientation(header)
    yield from _annotations(header)


def _modality(header: Header, sop_class: str) -> Iterator[Warned]:
    found = header.word("Modality")
    if not found and sop_class in MODALITIES:
        yield Warned(
            "modality-absent",
            f"Modality is absent; the SOP class says {MODALITIES[sop_class]}",
        )
    elif not found:
        raise Refused("it does not say its modality (CR or DX)")
    elif found not in MODALITIES.values():
        raise Refused(f"modality {shown(found)}; radiographs, CR or DX, are wanted")
    if sop_class and sop_class not in MODALITIES and not within(sop_class, SECONDARY_CAPTURE):
        raise Refused(
            "its SOP class is of no radiograph and no secondary capture, "
            f"whatever its modality ({shown(found)}) says"
        )


def _for_presentation(header: Header, sop_class: str) -> None:
    if sop_class == FOR_PROCESSING or header.word("PresentationIntentType") == "FOR PROCESSING":
        raise Refused(
            "FOR PROCESSING: raw detector data, not made to be looked at; export the image that is "
            "FOR PRESENTATION"
        )


def _body_part(header: Header) -> Iterator[Warned]:
    stated = header.word("BodyPartExamined")
    found = spoken(stated)
    region = _region(header)
    unstated = is_unstated(stated)
    if not unstated and not _is_chest(found):
        raise Refused(f"body part {shown(stated)}; the chest is wanted")
    if region == "elsewhere":
        raise Refused("AnatomicRegionSequence names another body part; the chest is wanted")
    if unstated and region is None:
        yield Warned("body-part-absent", "BodyPartExamined is absent: is it a chest?")


def _is_chest(found: set[str]) -> bool:
    return bool(found & words.CHEST) and not found & words.NOT_THE_CHEST


def _region(header: Header) -> str | None:
    """What AnatomicRegionSequence says: "chest", "elsewhere", which outweighs it, or nothing."""
    found = None
    for item in header.items("AnatomicRegionSequence"):
        code, meaning = _code(item)
        if code in words.CHEST_CODES or _is_chest(meaning):
            found = "chest"
        elif code or meaning & (words.BODY_PARTS | words.NOT_THE_CHEST):
            return "elsewhere"
    return found


def _code(item: Header) -> tuple[str, set[str]]:
    """A coded concept: its code, empty where it is of no scheme known here; its meaning's words."""
    known = item.word("CodingSchemeDesignator").replace(" ", "") in words.SNOMED
    code = "".join(map(str, item.raw("CodeValue"))).strip().upper()
    return code if known else "", spoken(item.word("CodeMeaning"))


def _view(header: Header) -> Iterator[Warned]:
    """A frontal view is wanted; one word for another view outweighs every word for it."""
    stated = header.word("ViewPosition")
    if not is_unstated(stated):
        _check_view(spoken(stated), f"ViewPosition {shown(stated)}")
    coded = _check_view_codes(header)
    if "".join(header.words("PatientOrientation")[:1])[:1] in ("A", "P"):
        raise Refused("a lateral view (PatientOrientation); frontal views, PA or AP, are wanted")
    if is_unstated(stated) and not coded:
        described = set(header.word("SeriesDescription").split())
        if described & words.LATERAL and not described & words.FRONTAL:
            raise Refused(
                "a lateral view (SeriesDescription, and no ViewPosition); frontal views, PA or AP, "
                "are wanted"
            )
        yield Warned("view-absent", "ViewPosition is absent: is it a frontal view?")


def _check_view(found: set[str], where: str) -> None:
    if found & words.LATERAL:
        raise Refused(f"a lateral view ({where}); frontal views, PA or AP, are wanted")
    if found & words.NEITHER or not found & words.FRONTAL:
        raise Refused(f"{where}: neither PA nor AP, which are wanted")


def _check_view_codes(header: Header) -> bool:
    """Whether ViewCodeSequence says that the view is frontal."""
    frontal = False
    for item in header.items("ViewCodeSequence"):
        code, meaning = _code(item)
        if code in words.LATERAL_CODES or meaning & words.LATERAL:
            raise Refused("a lateral view (ViewCodeSequence); frontal views, PA or AP, are wanted")
        if code in words.FRONTAL_CODES or (meaning & words.FRONTAL and not meaning & words.NEITHER):
            frontal = True
        elif code or meaning & words.NEITHER:
            raise Refused("ViewCodeSequence: neither PA nor AP, which are wanted")
    return frontal


def _orientation(header: Header) -> Iterator[Warned]:
    """Rows of a frontal view run to the patient's left, columns to the feet."""
    found = header.words("PatientOrientation")
    if len(found) == 2 and (found[0][0] in "RHF" or found[1][0] in "LRH"):
        yield Warned(
            "patient-orientation",
            f"PatientOrientation {'/'.join(map(shown, found))}: mirrored or turned against L/F; it "
            "is left as it is",
        )


def _annotations(header: Header) -> Iterator[Warned]:
    if header.word("BurnedInAnnotation") == "YES":
        yield Warned(
            "burned-in-text",
            "BurnedInAnnotation is YES: text in the pixels can mislead the model, and can name the "
            "patient",
        )
    if any(0x6000 <= group <= 0x60FF for group in header.groups):
        yield Warned("overlay-ignored", "overlays (group 60xx) are not drawn", note=True)
    if header.word("LossyImageCompression") == "01" or header.transfer_syntax in LOSSY:
        yield Warned("lossy-compression", "it was compressed with loss at some time", note=True)


def sop_instance(header: Header) -> str | None:
    """The SOP Instance UID, if it is a UID."""
    uid = header.uid("SOPInstanceUID")
    return uid if is_uid(uid) else None
