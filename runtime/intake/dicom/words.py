"""The words for a body part and for a view, as DICOM defines them and as real files write them.

All are as `header.normal` leaves them: upper case, without accents. Codes are SNOMED CT's and the
older SNOMED RT's (PS3.16, CID 4009 and 4010).
"""

from __future__ import annotations

import re


def _of(text: str) -> frozenset[str]:
    return frozenset(text.split())


CHEST = _of(
    "CHEST THORAX TORAX TORACE TORAKS BRUSTKORB CXR LUNG LUNGS LUNGE POUMON POUMONS PULMON "
    "PULMONES PECHO PEITO 胸 胸部 胸腔 흉부 ГРУДНАЯ ОГК"
)
NOT_THE_CHEST = _of(
    "ABD ABDO ABDOMEN ANGIO BREAST CLAVICLE HEAD NECK PELVIS RIB RIBS SHOULDER SPINE STERNUM "
    "TSPINE WALL"
)
"""Words that make another body part of CHEST or THORAX beside them."""

UNSTATED = _of("ANY GENERIC GENERICA NA NONE NULL OTHER UNDEFINED UNK UNKNOWN UNSPECIFIED")

FRONTAL = _of("PA AP FRONTAL ANTEROPOSTERIOR POSTEROANTERIOR APAX")
LATERAL = _of("LL RL LAT LATERAL LLAT RLAT LATL LATR XTABLE SEITLICH PROFIL PERFIL")
NEITHER = _of(
    "LLD RLD DECUBITUS OBLIQUE OBL RAO LAO RPO LPO RLO LLO LORDOTIC AL SWIMMERS TANGENTIAL "
    "CC MLO ML LM AXIAL SAGITTAL CORONAL"
)
"""Other views: refused, like the lateral one."""

CHEST_CODES = _of("51185008 43799004 39607008 T-D3000 T-D3200 T-28000")
FRONTAL_CODES = _of("399348003 272479007 399033003 R-10206 R-10214 R-40888 R-10202")
LATERAL_CODES = _of(
    "399067008 399173006 399198007 399260004 399352003 R-102CD R-10236 R-10232 R-10228 R-10224"
)
SNOMED = _of("SCT SRT SNM3 99SDM SNOMED")
"""Coding schemes whose codes are told apart; of others the meaning's words count."""

MODALITIES = _of(
    "AR AU BI BMD CR CT DOC DX EC ECG EEG EM EPS ES FID GM HC HD IO IVOCT IVUS KER KO LEN LS MG MR "
    "NM OAM OCT OP OPT OPV OSS OT PLAN PR PT PX REG RESP RF RG RTDOSE RTIMAGE RTPLAN RTRECORD "
    "RTSTRUCT RWV SC SEG SM SMR SR SRF STAIN TG US VA XA XC"
)
BODY_PARTS = _of(
    "ABDOMEN ABDOMENPELVIS ADRENAL ANKLE AORTA ARM AXILLA BACK BLADDER BRAIN BREAST CALCANEUS CALF "
    "CAROTID CERVICAL CHESTABDOMEN CHESTABDPELVIS CLAVICLE COCCYX COLON CSPINE CTSPINE ELBOW "
    "EXTREMITY EYE FACE FEMUR FINGER FOOT FOREARM HAND HEAD HEADNECK HEART HIP HUMERUS JAW KIDNEY "
    "KNEE LEG LIVER LSPINE LSSPINE LUMBAR MAXILLA NECK NECKCHEST NOSE ORBIT PANCREAS PATELLA "
    "PELVIS RIB RIBS SACRUM SCAPULA SHOULDER SINUS SKULL SPINE SSPINE STERNUM TEETH THIGH THORACIC "
    "THUMB TIBIA TLSPINE TMJ TOE TSPINE WHOLEBODY WRIST ZYGOMA"
)
OTHERS = _of(
    "MONOCHROME1 MONOCHROME2 RGB YBR FULL ICT RCT PARTIAL PALETTE COLOR HSV ARGB CMYK IDENTITY "
    "INVERSE LINEAR EXACT SIGMOID ERECT SUPINE PORTABLE UPRIGHT SITTING L R"
)
DEFINED = frozenset().union(
    CHEST, NOT_THE_CHEST, UNSTATED, FRONTAL, LATERAL, NEITHER, MODALITIES, BODY_PARTS, OTHERS
)
"""What messages may repeat of a header: anything else could be a name."""

_DIRECTIONS = re.compile(r"[APLRHF]{1,3}|[0-9]{1,3}")


def shown(text: str) -> str:
    """A word of the header, or several, as a message may have it."""
    known = all(word in DEFINED or _DIRECTIONS.fullmatch(word) for word in text.split())
    return text if known else "(no word that DICOM defines)"


def spoken(text: str) -> set[str]:
    """The words of a text, and all of it as one word, as it may have been written apart."""
    return {*text.split(), "".join(text.split())} - {""}


def is_unstated(text: str) -> bool:
    return set(text.split()) <= UNSTATED or "".join(text.split()) in UNSTATED
