"""Linear layers of several images at once: each image's own convolution, in planes that hold every
image and windows that hold every output.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from moiety.protocols.linear.layout import Layout
from moiety.protocols.linear.placement import from_plane, to_plane
from moiety.protocols.linear.planner import plan_linear
from moiety.protocols.linear.server import ServerLinear
from moiety.protocols.linear.spec import LinearSpec, download_bytes, query_bytes, upload_bytes
from tests.support.convolutions import (
    GUARDS,
    SEED,
    Conv,
    both,
    check_deviation,
    convolve,
    deviation,
    layer_parties,
    replanned,
)

FEW = 3
CONVS = {
    "pointwise": Conv(5, (3, 4), 6),
    "padded": Conv(4, (7, 7), 5, (3, 3), (1, 1, 1, 1)),
    "uneven pads": Conv(3, (5, 4), 4, (3, 2), (2, 1, 0, 0)),
    "no pads": Conv(3, (6, 5), 4, (3, 3)),
    "padded pointwise": Conv(3, (4, 4), 2, (1, 1), (1, 1, 1, 1)),
    "dilated groups": Conv(4, (9, 6), 4, (3, 3), (2, 2, 2, 2), (2, 2), 2),
    "vector": Conv(40, (1, 1), 7),
}


@pytest.mark.parametrize("guard", GUARDS)
@pytest.mark.parametrize("kind", CONVS)
def test_layer_of_a_batch(kind: str, guard: int) -> None:
    conv = CONVS[kind]
    geometry = replace(conv.geometry, images=FEW)
    spec = plan_linear(geometry, 28, 10, guard)
    rng = np.random.default_rng(1)
    check_batch(spec, conv, rng)
    if not geometry.pointwise:  # tiles that end between images and within them
        rows, columns = spec.rlwe.tile[0], max(1, conv.out_shape[2] - 1)
        small_tiles = replanned(
            spec, tile=(min(rows, conv.out_shape[1] + 1), columns), channels_per_ciphertext=1
        )
        check_batch(replanned(small_tiles, filters_per_answer=1), conv, rng)


def check_batch(spec: LinearSpec, conv: Conv, rng: np.random.Generator) -> None:
    weight = rng.integers(
        -511, 512, (conv.filters, conv.channels // conv.groups, *conv.kernel)
    ).astype(np.int32)
    bias = rng.integers(-(2**20), 2**20, conv.out_shape)
    x = rng.integers(0, 2**28, (spec.geometry.images, *conv.in_shape), np.uint64)
    x1 = rng.integers(0, 2**28, x.shape, np.uint64)
    layer = ServerLinear(spec, 3, SEED, weight, bias)
    layer.prepare()
    x0 = (x - x1) & np.uint64(2**28 - 1)
    y0, y1, (_, client) = both(*layer_parties(layer, x0, x1))
    expected = np.stack([convolve(image, weight, conv) for image in x]) + bias.view(np.uint64)
    check_deviation(spec, deviation(spec, (y0, y1), expected))
    assert client.meter.total.sent == query_bytes([spec]) + upload_bytes(spec)
    assert client.meter.total.received == download_bytes(spec)


@pytest.mark.parametrize("kind", CONVS)
def test_planes_hold_every_image_and_windows_every_output_once(kind: str) -> None:
    conv = CONVS[kind]
    geometry = replace(conv.geometry, images=FEW)
    spec = plan_linear(geometry, 28, 10, 0)
    x = np.arange(FEW * conv.channels * conv.size[0] * conv.size[1], dtype=np.uint64) + np.uint64(1)
    plane = to_plane(x.reshape(FEW, *conv.in_shape), geometry)
    assert plane.shape == spec.layout.flat.in_shape
    assert np.array_equal(np.sort(plane[plane > 0]), x)
    for tile in ((1, 1), (3, 2), spec.rlwe.tile):
        layout = Layout(geometry, 4096, 1, 1, tile)
        out = np.zeros(layout.flat.out_shape, np.uint64)
        for window in layout.windows:
            out[:, window.rows, window.x0 : window.x1] += np.uint64(1)
        assert int(out.sum()) == geometry.outputs
        assert (from_plane(out, geometry, (FEW,)) == 1).all()
