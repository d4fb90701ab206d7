"""Counter-based random numbers: splitmix64 of (key, counter), the same compiled or not.

There is no hidden state. A draw is named by a key (who draws) and a counter (which draw), so vehicles can run in any order, in
any chunk and on any number of threads and still get the same numbers. Steele, Lea, Flood: Fast splittable pseudorandom number
generators, OOPSLA 2014; constants of ``java.util.SplittableRandom``.
"""

import math
import zlib

from simulators.kernel import kernel, u64

GAMMA = 0x9E3779B97F4A7C15
MIX_1 = 0xBF58476D1CE4E5B9
MIX_2 = 0x94D049BB133111EB


@kernel
def splitmix64(key: int, counter: int) -> int:
    """64 random bits of draw ``counter`` (0 to 2^63-1) under ``key`` (0 to 2^64-1), as 0 to 2^64-1."""
    z = u64(u64(key) + u64(counter) * u64(GAMMA) + u64(GAMMA))
    z = u64((z ^ (z >> u64(30))) * u64(MIX_1))
    z = u64((z ^ (z >> u64(27))) * u64(MIX_2))
    return z ^ (z >> u64(31))


@kernel
def derive(key: int, counter: int) -> int:
    """A new key for a part of the world (one vehicle, one road), 0 to 2^62-1."""
    return splitmix64(key, counter) >> u64(2)


@kernel
def uniform(key: int, counter: int) -> float:
    """A number in [0, 1), 53 bits."""
    return float(splitmix64(key, counter) >> u64(11)) * 1.1102230246251565e-16  # 2^-53


@kernel
def gauss(key: int, counter: int) -> float:
    """A number of mean 0 and standard deviation 1: four 16-bit lanes added up (Irwin-Hall), so never beyond 3.47."""
    z = splitmix64(key, counter)
    total = (z & u64(0xFFFF)) + ((z >> u64(16)) & u64(0xFFFF)) + ((z >> u64(32)) & u64(0xFFFF)) + (z >> u64(48))
    return (float(total) - 131070.0) * 2.6429e-05  # sqrt(3) / 65535.5


@kernel
def exponential(key: int, counter: int) -> float:
    """A number above 0 of mean 1."""
    return -math.log(1.0 - uniform(key, counter))


@kernel
def smooth_noise(key: int, x: float) -> float:
    """Value noise in [-1, 1]: random at whole ``x`` (from 0 up), quintic between them, with slope 0 at the knots."""
    i = int(x)
    f = x - i
    w = f * f * f * (f * (f * 6.0 - 15.0) + 10.0)
    a = uniform(key, i)
    b = uniform(key, i + 1)
    return 2.0 * (a + (b - a) * w) - 1.0


def key_of(seed: int, *names: str | int) -> int:
    """The key of a named part of the world: ``key_of(7, "vehicle", 12)``. Seed 0 to 2^63-1."""
    key = derive(seed, 0)
    for name in names:
        key = derive(key, name if isinstance(name, int) else zlib.crc32(name.encode()) + (1 << 40))
    return int(key)
