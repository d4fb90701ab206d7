"""A node and its gateway over a bad line: every record arrives once, in order, however much of what they say is destroyed."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from devices.wire import Sample
from tests.firmware_world import T0_NS, World, frame


class NoiseOnLine:
    """Flips, drops, inserts and repeats bytes until it is switched off."""

    def __init__(self, rng: random.Random, per_byte: float) -> None:
        self.rng = rng
        self.per_byte = per_byte

    def __call__(self, data: bytes) -> bytes:
        out = bytearray()
        for byte in data:
            if self.rng.random() >= self.per_byte:
                out.append(byte)
                continue
            what = self.rng.randrange(5)
            if what == 0:
                out.append(byte ^ 1 << self.rng.randrange(8))
            elif what == 1:
                out += self.rng.randbytes(self.rng.randrange(60))
            elif what == 2:
                out += bytes(out[-self.rng.randrange(1, 100) :])
            elif what == 3:
                out += b"\0"
        return bytes(out)


@settings(max_examples=25)
@given(
    seed=st.integers(0, 2**32 - 1),
    per_byte=st.sampled_from([0.0005, 0.003]),
    alone_s=st.integers(0, 60),
    restarts=st.lists(st.integers(8, 30), max_size=3),  # a start of which no beat arrives cannot be dated,
)
def test_every_record_arrives_once_and_in_order(seed: int, per_byte: float, alone_s: int, restarts: list[int]) -> None:
    rng = random.Random(seed)
    up, down = NoiseOnLine(rng, per_byte), NoiseOnLine(rng, per_byte)
    world = World(up=up, down=down)

    def number(now_ms: int) -> None:
        """The odometer counts the records, whatever the start."""
        if now_ms % 10 == 0:
            world.hal.frames.append(frame(0xFEC1, world.node.ring.next.to_bytes(4, "little") + b"\xff" * 4))

    world.every_step = number
    source = world.source(ack_after_s=2)
    samples: list[Sample] = world.listen(source, 8_000)
    world.run(alone_s * 1000)
    for listened_s in restarts:
        samples += world.listen(source, listened_s * 1000)
        world.boot()
    up.per_byte = down.per_byte = 0
    samples += world.listen(source, 30_000)
    numbers = [round(s.values["odometer_m"] / 5) for s in samples]
    assert numbers == list(range(len(numbers)))
    assert world.node.ring.next - len(numbers) <= 1
    figures = source.figures
    assert (figures.lost, figures.undated, figures.records) == (0, 0, len(numbers))
    assert world.node.ring.acked >= len(numbers) - 5
    times = [s.time_ns - T0_NS for s in samples]
    assert times == sorted(times), "and their times never go back"
