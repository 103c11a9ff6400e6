"""Each file of the DICOM collection: its verdict, and what is seen of it, bit for bit."""

from __future__ import annotations

import hashlib

import numpy as np
import pydicom
import pytest

from moiety.protocols.errors import BadInput
from moiety.runtime.intake.dicom import not_an_image, read_dicom
from moiety.runtime.intake.dicom.display import display
from moiety.runtime.intake.dicom.header import Header
from moiety.runtime.intake.dicom.pixels import decode, read_form, transfer_syntax
from moiety.runtime.intake.duplicates import Duplicates
from tests.support.dicom import COLLECTION, WHOLE, manifest, verdict

ROWS = {row["file"]: row for row in manifest()}

# File -> what its refusal says, where the collection wants one; "decode test" files are of other
# modalities.
REFUSED = {
    "DICOMDIR": "a DICOMDIR, an index of other files, not an image",
    "bad_vr.dcm": "NumberOfFrames (0028,0008)",
    "bigendian.dcm": "modality MR",
    "chest_cr_tiny_japanese_name_mono1_12bit.dcm": "no PixelData",
    "cspine_cr_tiny_rescale_mono1_12bit.dcm": "body part CSPINE",
    "ct_multivalued_window.dcm": "modality CT",
    "ct_signed_padding_rescale.dcm": "modality CT",
    "deflated.dcm": "modality OT",
    "derived_for_processing.dcm": "FOR PROCESSING",
    "derived_jpegxl_unsupported.dcm": "transfer syntax 1.2.840.10008.1.2.4.110 (JPEG XL Lossless)",
    "derived_lateral.dcm": "a lateral view (ViewPosition LL)",
    "derived_no_pixeldata.dcm": "no PixelData",
    "derived_no_preamble.dcm": "no preamble",
    "derived_rgb_grey_sc.dcm": "modality OT",
    "derived_rows_lie.dcm": "PixelData has 112240 bytes, Rows x Columns (252 x 230) needs 115920",
    "derived_truncated.dcm": "truncated: PixelData has 74484 bytes",
    "derived_two_frames.dcm": "2 frames",
    "float_pixeldata.dcm": "no integer PixelData",
    "himl_1.dcm": "a constant image: all pixels are 1",
    "htj2k_rgb.dcm": "a colour image",
    "image_without_pixeldata.dcm": "no PixelData",
    "j2k_pixelrep_mismatch.dcm": "modality CT",
    "jpegls_15bit.dcm": "does not say its modality",
    "jpegls_lossless.dcm": "modality MR",
    "meta_missing_tsyntax.dcm": "no transfer syntax",
    "mg_voilut_and_windows_padding_jpegll.dcm": "modality MG",
    "modalitylut_sequence.dcm": "modality OT",
    "ot_chest_signed16.dcm": "modality OT",
    "overlay.dcm": "modality MR",
    "palette_color.dcm": "palette colour",
    "rle.dcm": "modality MR",
    "sc_rgb_jpeg.dcm": "a colour image",
    "sc_rgb_rle_2frame.dcm": "2 frames",
    "sr_no_pixeldata.dcm": "a structured report, not an image",
    "truncated_native.dcm": "truncated: PixelData has 8130 bytes",
}
WARNED = {
    "cr_modalitylut_jpegll_mono1_10bit.dcm": "body-part-absent view-absent",
    "derived_burned_in_yes.dcm": "burned-in-text",
    "derived_mono1_with_identity_shape.dcm": "presentation-lut-contradicts",
    "derived_mono2_with_inverse_shape.dcm": "presentation-lut-contradicts",
    "derived_nonsquare_pixels.dcm": "non-square-pixels",
    "derived_window_width_0.dcm": "window-ignored",
    "thorax_dx_highdicom_mono1_inverse.dcm": "view-absent",
}
NOT_DECODED = {"himl_1.dcm", "derived_no_preamble.dcm"}
"""Refused before anything is displayed, though the manifest has their display."""

LOSSY_JPEG = "1.2.840.10008.1.2.4.50"
"""Decoders of JPEG differ by a grey level in few pixels."""

DISPLAYED = [name for name, row in ROWS.items() if row["display16_sha256"]]
whole = pytest.mark.skipif(COLLECTION != WHOLE, reason="MOIETY_DATA has no dicom folder")


@pytest.mark.parametrize("name", ROWS)
def test_verdict(name: str) -> None:
    kind, said = verdict(COLLECTION / name)
    if name in REFUSED:
        assert kind == "refused"
        assert REFUSED[name] in said
    else:
        assert (kind, said) == (
            "accepted with warnings" if name in WARNED else "accepted",
            WARNED.get(name, ""),
        )


@pytest.mark.parametrize("name", ROWS)
def test_the_manifest_wants_this_verdict(name: str) -> None:
    """Where its `intake` begins with a verdict; "decode test" does not, nor does a cohort's."""
    wanted = ROWS[name]["intake"]
    assert not (wanted.startswith("refuse") and name not in REFUSED)
    assert not (wanted.startswith("accept") and name in REFUSED)
    assert not (wanted.startswith("accept + warn") and name not in WARNED)


@whole
def test_counts_of_verdicts() -> None:
    assert len(ROWS) == 62
    assert set(REFUSED) | set(WARNED) <= set(ROWS)
    assert not set(REFUSED) & set(WARNED)
    assert (len(REFUSED), len(WARNED)) == (35, 7)


@pytest.mark.parametrize("name", [name for name in DISPLAYED if name not in NOT_DECODED])
def test_pixels_and_display_are_the_collections(name: str) -> None:
    row = ROWS[name]
    header = Header(pydicom.dcmread(COLLECTION / name))
    form = read_form(header)
    stored = decode(header, form, transfer_syntax(header))
    seen, _ = display(stored, header, form)
    if row["transfer_syntax"] == LOSSY_JPEG:
        assert (stored.min(), stored.max()) == pytest.approx(
            (float(row["stored_min"]), float(row["stored_max"])), abs=1
        )
        assert seen.mean() == pytest.approx(float(row["display_mean"]), abs=1 / 255)
        return
    little = np.ascontiguousarray(stored, stored.dtype.newbyteorder("<"))
    assert hashlib.sha256(little.tobytes()).hexdigest() == row["stored_sha256"]
    sixteen = np.rint(seen * 65535).astype("<u2")
    assert hashlib.sha256(sixteen.tobytes()).hexdigest() == row["display16_sha256"]
    for name_of, value in (("min", seen.min()), ("max", seen.max()), ("mean", seen.mean())):
        assert value == pytest.approx(float(row[f"display_{name_of}"]), abs=1e-6)


@whole
def test_a_picture_is_what_is_displayed() -> None:
    picture = read_dicom(COLLECTION / "derived_mono2_12bit.dcm")
    row = ROWS["derived_mono2_12bit.dcm"]
    sixteen = np.rint(picture.values * 65535).astype("<u2")
    assert hashlib.sha256(sixteen.tobytes()).hexdigest() == row["display16_sha256"]
    assert picture.identity.file_sha256 == row["file_sha256"]
    assert picture.identity.sop_instance_uid == row["sop_instance_uid"]


@whole
def test_one_image_in_six_encodings_has_one_hash() -> None:
    files = sorted(COLLECTION.glob("derived_ref_*.dcm"))
    pictures = [read_dicom(file) for file in files]
    assert len({picture.identity.pixel_sha256 for picture in pictures}) == 1
    assert len(files) == 6


@whole
def test_a_false_monochrome1_is_seen_inverted() -> None:
    true, false = (
        read_dicom(COLLECTION / f"chest_cr_nih_jpegbaseline_{name}.dcm").values
        for name in ("mono2", "fakemono1")
    )
    assert true.dtype == np.uint8
    np.testing.assert_allclose(false, 1 - true / 255, atol=1e-12)


@whole
def test_a_uid_with_other_pixels_is_refused_and_one_with_the_same_counts_once() -> None:
    seen = Duplicates()
    first, other = (
        COLLECTION / f"derived_{name}.dcm" for name in ("mono2_12bit", "same_uid_other_pixels")
    )
    assert seen.check(first, read_dicom(first).identity) is None
    with pytest.raises(BadInput, match=f"{other}: has the SOPInstanceUID of .*other pixels"):
        seen.check(other, read_dicom(other).identity)
    assert "the same file as" in str(seen.check(first, read_dicom(first).identity))
    true, false = (
        COLLECTION / f"chest_cr_nih_jpegbaseline_{name}.dcm" for name in ("mono2", "fakemono1")
    )
    assert seen.check(true, read_dicom(true).identity) is None
    assert "under another header" in str(seen.check(false, read_dicom(false).identity))


def test_files_that_are_no_images_are_known_before_they_are_read() -> None:
    kinds = {name: not_an_image(COLLECTION / name) for name in ROWS}
    found = {name for name, kind in kinds.items() if kind is not None}
    known = {"DICOMDIR", "image_without_pixeldata.dcm", "sr_no_pixeldata.dcm"}
    assert found == known & set(ROWS)
    assert kinds["sr_no_pixeldata.dcm"] == "a structured report"
