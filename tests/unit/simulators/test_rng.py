"""Random numbers: published values, spread, and the same numbers without compiler."""

import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from simulators.rng import derive, exponential, gauss, key_of, smooth_noise, splitmix64, uniform

ROOT = Path(__file__).resolve().parents[3]
N = 20_000


def test_splitmix64_gives_the_published_sequence() -> None:
    # First outputs for seed 1234567, from the reference implementation's test (Vigna, splitmix64.c; Rosetta Code).
    published = [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]
    assert [splitmix64(1234567, i) for i in range(5)] == published


def test_draws_have_their_mean_and_spread() -> None:
    key = key_of(3, "test")
    flat = [uniform(key, i) for i in range(N)]
    bell = [gauss(key, i) for i in range(N)]
    waits = [exponential(key, i) for i in range(N)]
    assert 0.0 <= min(flat) < max(flat) < 1.0
    assert sum(flat) / N == pytest.approx(0.5, abs=0.01)
    assert sum(bell) / N == pytest.approx(0.0, abs=0.03)
    assert sum(x * x for x in bell) / N == pytest.approx(1.0, abs=0.03)
    assert sum(waits) / N == pytest.approx(1.0, abs=0.03)


def test_keys_of_different_things_differ() -> None:
    keys = {key_of(seed, name, i) for seed in (0, 1) for name in ("a", "b") for i in range(50)}
    assert len(keys) == 200
    assert all(0 <= key < 2**62 for key in keys)
    assert derive(5, 1) != derive(5, 2)


def test_smooth_noise_is_continuous_and_bounded() -> None:
    key = key_of(1, "noise")
    values = [smooth_noise(key, i / 100) for i in range(3000)]
    assert all(-1.0 <= v <= 1.0 for v in values)
    assert max(abs(a - b) for a, b in pairwise(values)) < 0.04
    assert max(values) - min(values) > 1.0


def test_a_vehicle_is_the_same_without_compiler() -> None:
    script = (
        "import hashlib\n"
        "from tests import small_world\n"
        "from simulators.single import SingleVehicle\n"
        "v = SingleVehicle(small_world.scenario(congestion=0.3, route={'hills_m': 40.0}), 11)\n"
        "h = hashlib.sha256()\n"
        "for _ in range(5400):\n"
        "    v.step()\n"
        "    h.update(repr((v.time_ns, [float(x) for x in v.values], [float(x) for x in v.truth])).encode())\n"
        "print(h.hexdigest())\n"
    )
    out = []
    for disabled in ("0", "1"):
        environment = {**os.environ, "NUMBA_DISABLE_JIT": disabled, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            [sys.executable, "-c", script], cwd=ROOT, env=environment, capture_output=True, check=True
        )
        out.append(done.stdout)
    assert out[0] == out[1]
    assert len(out[0]) == 65
