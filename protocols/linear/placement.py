"""Values into polynomials and outputs out of them, as the layout says: the NumPy side of
protocols/linear/layout, the same at both parties.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from moiety.protocols.arrays import I32, I64, U32, U64
from moiety.protocols.errors import BadArtifact, ContractViolation
from moiety.protocols.linear.layout import Geometry, Layout, Window
from moiety.protocols.linear.rlwe import Ring
from moiety.protocols.linear.spec import LinearSpec
from moiety.protocols.prg import Prg

T = TypeVar("T", bound=np.generic)

_CHUNK = 1 << 16
"""Coefficients per prime that are worked on at once: what stays in the second-level cache, and one
thread's job.
"""
_FEW = 1 << 14
"""Coefficients below which handing over a job takes longer than the job."""


def chunks(count: int, degree: int) -> list[slice]:
    """`count` polynomials in pieces of about `_CHUNK` coefficients, in two at least where that is
    not too few; the same whatever the number of threads, because each piece has its own stream of
    randomness.
    """
    return _cut(count, _step(count, degree))


def byte_chunks(count: int, degree: int) -> list[slice]:
    """The same in pieces of whole bytes, whatever the bits of a coefficient."""
    return _cut(count, -(-_step(count, degree) // 8) * 8)


def _step(count: int, degree: int) -> int:
    """Polynomials of a piece."""
    most = max(1, _CHUNK // degree)
    return -(-count // 2) if _FEW <= count * degree <= most * degree else most


def _cut(count: int, step: int) -> list[slice]:
    return [slice(start, min(start + step, count)) for start in range(0, count, step)]


# --- images and the one plane in which they lie ---------------------------------------------------


def check_images(x: U64, geometry: Geometry) -> None:
    """Raises `ContractViolation` unless x is uint64 `(..., C, H, W)` of as many images."""
    count = geometry.images
    if (
        x.shape[-3:] != geometry.in_shape
        or x.size != count * math.prod(geometry.in_shape)
        or x.dtype != np.uint64
    ):
        raise ContractViolation(
            f"linear layer expects uint64 {count} x {geometry.in_shape}, got {x.dtype} {x.shape}"
        )


def to_plane(x: U64, geometry: Geometry) -> U64:
    """The images uint64 `(..., C, H, W)` in the one plane `(C, ...)` of `Geometry.flat`."""
    check_images(x, geometry)
    channels, height, width = geometry.in_shape
    count = geometry.images
    images = x.reshape(count, *geometry.in_shape).transpose(1, 0, 2, 3)
    if geometry.pointwise or count == 1:
        return np.ascontiguousarray(images).reshape(geometry.flat.in_shape)
    plane = np.zeros((channels, count, geometry.period, width), np.uint64)
    plane[:, :, :height] = images
    return plane.reshape(channels, -1, width)[:, : geometry.flat.in_shape[1]]


def from_plane(out: U64, geometry: Geometry, leading: tuple[int, ...]) -> U64:
    """The images' outputs uint64 `(*leading, M, H', W')` out of the plane."""
    filters, height, width = geometry.out_shape
    count = geometry.images
    if not geometry.pointwise and count > 1:
        out = out[:, np.arange(count)[:, None] * geometry.period + np.arange(height)]
    images = out.reshape(filters, count, height, width).transpose(1, 0, 2, 3)
    return np.ascontiguousarray(images).reshape(*leading, *geometry.out_shape)


def place(out: U64, window: Window, share: U64) -> None:
    """One tile's outputs `(M, pixels)` into the plane's, in place."""
    columns = slice(window.x0, window.x1)
    out[:, window.rows, columns] = share.reshape(len(out), len(window.rows), -1)


# --- into polynomials -----------------------------------------------------------------------------


def pack_tile(layout: Layout, plane: U64, window: Window) -> U64:
    """Messages of one tile's ciphertexts, uint64 `(ciphertexts per tile, B)`, zero-padded; `plane`
    is the flat `(C, H, W)`.
    """
    rows, columns, inner_rows, inner_columns = layout.input_slices(window)
    tile = np.zeros(
        (layout.bundles, layout.ciphertexts * layout.cp, layout.rows, layout.pitch), np.uint64
    )
    channels = plane.reshape(layout.bundles, layout.bundle_channels, *plane.shape[1:])
    tile[:, : layout.bundle_channels, inner_rows, inner_columns] = channels[:, :, rows, columns]
    return tile.reshape(layout.ciphertexts_per_tile, layout.block)


def add_messages(ring_q: Ring, b: U32, messages: U64, bits: int, prg: Prg) -> None:
    """`b[:, :, :B] += encode(messages)`, in place."""
    width = messages.shape[1]
    b[:, :, :width] = ring_q.add(
        np.ascontiguousarray(b[:, :, :width]), ring_q.encode(messages, bits, prg)
    )


def check_weights(spec: LinearSpec, layer: int, weight: I32, bias: I64) -> None:
    """Raises `BadArtifact` unless shapes and sizes are those that the Program allows."""
    geometry = spec.geometry
    filters = geometry.out_shape[0]
    expected = (filters, geometry.in_shape[0] // geometry.groups, *geometry.kernel)
    if weight.shape != expected:
        raise BadArtifact(
            f"weights of linear layer {layer} have shape {weight.shape}, "
            f"the Program says {expected}"
        )
    if weight.size and int(np.abs(weight.astype(np.int64)).max()) > 1 << (spec.weight_bits - 1):
        raise BadArtifact(
            f"a weight of linear layer {layer} exceeds the {spec.weight_bits} bits "
            "that the Program allows"
        )
    if bias.shape not in ((filters,), (filters, 1, 1), geometry.out_shape):
        raise BadArtifact(
            f"the bias of linear layer {layer} has shape {bias.shape}, "
            f"which does not fit output {geometry.out_shape}"
        )


def pack_weights(layout: Layout, weight: I32) -> I32:
    """`(M, C/groups, kh, kw)` to `(bundles, mp, taps, answers, ciphertexts * cp)`.

    Zero where there is no filter, no channel or another group.
    """
    flat, taps = layout.flat, len(layout.tap_offsets)
    filters, channels = flat.out_shape[0] // flat.groups, flat.in_shape[0] // flat.groups
    inputs = layout.ciphertexts * layout.cp
    dense = np.zeros((layout.bundles, layout.answers * layout.mp, inputs, taps), np.int32)
    by_group = weight.reshape(layout.bundles, layout.bundle, filters, channels, taps)
    for g in range(layout.bundle):
        of_filters = slice(g * filters, (g + 1) * filters)
        of_channels = slice(g * channels, (g + 1) * channels)
        dense[:, of_filters, of_channels] = by_group[:, g]
    split = dense.reshape(layout.bundles, layout.answers, layout.mp, inputs, taps)
    return np.ascontiguousarray(split.transpose(0, 2, 4, 1, 3))


# --- out of polynomials ---------------------------------------------------------------------------


@lru_cache(maxsize=1 << 10)
def pixel_positions(layout: Layout, window: Window) -> I64:
    """Coefficients of a tile's outputs relative to their filter's block, row-major and
    increasing, `(pixels,)`. Kept, and not to be changed.
    """
    rows = (np.array(window.rows) - window.y0) * layout.pitch
    return (rows[:, None] + np.arange(window.x1 - window.x0)).reshape(-1)


@lru_cache(maxsize=1 << 10)
def block_positions(layout: Layout, window: Window) -> I64:
    """Coefficients of the outputs of all blocks of an answer, `(mp * pixels,)`; as above."""
    blocks = np.arange(layout.mp)[:, None] * layout.block
    return (blocks + pixel_positions(layout, window)).reshape(-1)


def by_filter(layout: Layout, blocks: npt.NDArray[T]) -> npt.NDArray[T]:
    """`(..., blocks, pixels)` to `(..., M, pixels)`: drops the blocks of each bundle's last answer
    that have no filter.
    """
    *leading, _, pixels = blocks.shape
    by_bundle = blocks.reshape(*leading, layout.bundles, layout.answers * layout.mp, pixels)
    filters = by_bundle[..., : layout.bundle_filters, :]
    return filters.reshape(*leading, layout.bundles * layout.bundle_filters, pixels)
