"""Drawn chest radiographs: 8-bit grey images that look enough like the real thing to demonstrate
with, and show nobody.

    python -m moiety.models.synthetic -n 4 -o DIR [--seed 0] [--size 224]

Density is added up along the ray (body, spine, heart, ribs and clavicles add, lungs take away) and
grey is a saturating function of it, as on film. No diagnosis is drawn: what a network says about
these images means nothing.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from moiety.protocols.arrays import F64, U8


def synthetic_radiograph(seed: int, size: int = 224) -> U8:
    """One frontal radiograph, uint8 (size, size), 255 white (bone). The same seed and size give
    the same image.
    """
    rng = np.random.default_rng([seed, size])
    axis = (np.arange(size) + 0.5) / size * 2 - 1
    y, x = np.meshgrid(axis, axis, indexing="ij")
    x = x + rng.normal(scale=0.03)  # the patient stands a little off the centre, and leans
    x, y = x + rng.normal(scale=0.03) * y, y * rng.uniform(0.95, 1.05) + rng.normal(scale=0.03)
    breadth = rng.uniform(0.9, 1.05)

    body = _body(x / breadth, y)
    density = body * (0.55 + 0.45 * np.sqrt(np.clip(1 - (x / breadth) ** 2, 0, 1))) + 0.1 * _soft(
        0.13 - abs(x), 0.04
    )
    lungs = np.zeros_like(x)
    for side in (-1, 1):  # -1: left on the film, the patient's right
        lung = _lung(x, y, side, breadth, rng)
        density -= rng.uniform(0.6, 0.7) * lung
        lungs = np.maximum(lungs, lung)
        density += 0.35 * _clavicle(x, y, side)
        hilum = np.hypot((x - side * 0.17) / 0.1, (y + 0.02) / 0.2)
        density += 0.22 * np.exp(-(hilum**2)) * lung
    heart = _ellipse(
        x, y, (rng.uniform(0.08, 0.14), 0.3), (rng.uniform(0.26, 0.36), 0.3), 0.35, 0.06
    )
    density += 0.5 * heart * lungs + 0.12 * heart
    density += _spine(x, y, rng) + _ribs(x, y, breadth, rng) * (0.3 + 0.7 * lungs) * body
    density += 0.05 * _texture(size, rng, 0.02) * lungs + 0.04 * _texture(size, rng, 0.12)

    film = 1 - np.exp(-rng.uniform(1.1, 1.5) * np.clip(density, 0, None))
    low, high = np.quantile(film, [0.01, 0.995])
    grey = rng.uniform(5, 25) + np.clip((film - low) / (high - low), 0, 1) * rng.uniform(200, 225)
    blurred = _blur(grey, 0.004 * size)
    noisy = np.rint(blurred + rng.normal(scale=3, size=grey.shape))
    return np.asarray(np.clip(noisy, 0, 255), dtype=np.uint8)


def _soft(distance: F64, width: float) -> F64:
    """1 inside (positive distance), 0 outside, smooth over `width`."""
    return np.asarray(0.5 * (1 + np.tanh(distance / width)))


def _ellipse(
    x: F64,
    y: F64,
    centre: tuple[float, float],
    radii: tuple[float, float],
    angle: float,
    edge: float,
) -> F64:
    dx, dy = x - centre[0], y - centre[1]
    u, v = np.cos(angle) * dx + np.sin(angle) * dy, np.cos(angle) * dy - np.sin(angle) * dx
    return _soft((1 - np.hypot(u / radii[0], v / radii[1])) * min(radii), edge)


def _body(x: F64, y: F64) -> F64:
    shoulders = -0.98 + 0.28 * abs(x) + 0.6 * np.clip(abs(x) - 0.6, 0, None) ** 2
    flank = 0.84 + 0.22 * np.clip(-y - 0.1, 0, None)
    return np.maximum(
        _soft(flank - abs(x), 0.03) * _soft(y - shoulders, 0.025), _soft(0.26 - abs(x), 0.03)
    )


def _lung(x: F64, y: F64, side: int, breadth: float, rng: np.random.Generator) -> F64:
    """An egg with its blunt end on the diaphragm; the one under the heart's side is a
    little shorter.
    """
    inner, base = side * 0.4 * breadth, rng.uniform(0.48, 0.58) - (0.04 if side < 0 else 0.0)
    top, half = rng.uniform(-0.8, -0.72), rng.uniform(0.27, 0.31) * breadth
    along = np.clip((y - top) / (base - top), 0, 1)
    profile = half * np.sqrt(np.clip(1 - (1 - along) ** 2.6, 0, 1))
    across = _soft(profile - abs(x - inner - side * 0.03 * (along - 0.5)), 0.025)
    dome = base - 0.12 + 0.9 * (x - inner) ** 2 * np.where(side * (x - inner) > 0, 1.6, 0.5)
    return across * _soft(y - top, 0.03) * _soft(dome + 0.12 - y, 0.025)


def _clavicle(x: F64, y: F64, side: int) -> F64:
    reach = side * x
    return (
        np.exp(-(((y + 0.56 + 0.24 * reach) / 0.028) ** 2))
        * _soft(reach - 0.08, 0.03)
        * _soft(0.75 - reach, 0.05)
    )


def _spine(x: F64, y: F64, rng: np.random.Generator) -> F64:
    spacing = rng.uniform(0.15, 0.18)
    vertebrae = 0.75 + 0.25 * np.cos(2 * np.pi * y / spacing)
    return 0.16 * vertebrae * _soft(0.085 - abs(x), 0.02)


def _ribs(x: F64, y: F64, breadth: float, rng: np.random.Generator) -> F64:
    """Posterior ribs fall gently outwards, anterior ones steeply inwards; both are bands
    about 0.04 thick.
    """
    total, reach = np.zeros_like(x), abs(x) / breadth
    start, spacing = rng.uniform(-0.8, -0.76), rng.uniform(0.145, 0.16)
    for rib in range(10):
        level = start + rib * spacing
        posterior = y - level + 0.1 - 0.25 * (reach - 0.4) ** 2 - 0.18 * reach
        total += (
            0.14
            * _soft(0.022 - abs(posterior), 0.008)
            * _soft(0.76 - reach, 0.03)
            * _soft(reach - 0.08, 0.03)
        )
        if rib < 7:
            anterior = y - level - 0.2 + 0.55 * (reach - 0.25) - 0.2 * (reach - 0.25) ** 2
            total += (
                0.08
                * _soft(0.02 - abs(anterior), 0.01)
                * _soft(0.76 - reach, 0.03)
                * _soft(reach - 0.3, 0.05)
            )
    return total


def _texture(size: int, rng: np.random.Generator, scale: float) -> F64:
    """Zero-mean noise of unit variance, smooth over `scale` of the image."""
    noise = _blur(rng.normal(size=(size, size)), scale * size)
    return np.asarray((noise - noise.mean()) / noise.std())


def _blur(plane: F64, radius: float) -> F64:
    """Gaussian blur by a separable kernel; the border is repeated."""
    reach = max(1, int(3 * radius))
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / max(radius, 0.3)) ** 2)
    kernel /= kernel.sum()
    for axis in (0, 1):
        padded = np.pad(
            plane, [(reach, reach) if i == axis else (0, 0) for i in (0, 1)], mode="edge"
        )
        plane = np.apply_along_axis(np.convolve, axis, padded, kernel, "valid")
    return plane


def main(arguments: list[str] | None = None) -> None:
    """Writes `n` PNG files and prints their paths."""
    parser = argparse.ArgumentParser(
        prog="python -m moiety.models.synthetic", description="Draw chest radiographs."
    )
    parser.add_argument("-n", type=int, default=4, help="how many (default 4)")
    parser.add_argument(
        "-o", "--output", type=Path, required=True, help="folder to write PNG files to"
    )
    parser.add_argument(
        "--seed",
        type=int,
        default=0,
        help="seed of the first image; the others count up (default 0)",
    )
    parser.add_argument("--size", type=int, default=224, help="side in pixels (default 224)")
    options = parser.parse_args(arguments)
    if options.n < 1 or options.size < 16 or options.seed < 0:
        parser.error("-n must be at least 1, --size at least 16, --seed not negative")
    options.output.mkdir(parents=True, exist_ok=True)
    for seed in range(options.seed, options.seed + options.n):
        path = options.output / f"synthetic-{seed:04d}.png"
        Image.fromarray(synthetic_radiograph(seed, options.size)).save(path)
        print(path)


if __name__ == "__main__":
    main()
