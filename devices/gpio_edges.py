"""Edges of one line of a Linux GPIO character device (uAPI v2, kernel 5.10 and later), as the running count of the kernel.

The layout of the structures is that of ``linux/gpio.h``. Each event carries the number of the edge on its line, so edges that
found the event buffer full are counted all the same.
"""

import fcntl
import os
import struct
from typing import Final, Literal

Bias = Literal["as-is", "pull-up", "pull-down"]

_LINES: Final = 64
_ATTRIBUTES: Final = 10
_REQUEST: Final = struct.Struct(f"={_LINES}I32sQI5I{_ATTRIBUTES * 24}sII5Ii")
_ATTRIBUTE: Final = struct.Struct("=II8sQ")  # id, padding, value, mask of the lines it is for
_EVENT: Final = struct.Struct("=QIIII6I")  # time, id, offset, number, number on the line, padding
_GET_LINE: Final = 3 << 30 | _REQUEST.size << 16 | 0xB4 << 8 | 0x07  # _IOWR(0xB4, 0x07, struct gpio_v2_line_request)
_INPUT: Final = 1 << 2
_RISING: Final = 1 << 4
_FALLING: Final = 1 << 5
_BIAS: Final[dict[Bias, int]] = {"as-is": 0, "pull-up": 1 << 8, "pull-down": 1 << 9}
_DEBOUNCE: Final = 3
_BUFFER_EVENTS: Final = 1024  # a minute of pulses at the fastest an S0 output can give


def request(line: int, *, edge: Literal["rising", "falling"], bias: Bias, debounce_us: int) -> bytes:
    """The structure that asks the kernel for the line."""
    flags = _INPUT | (_RISING if edge == "rising" else _FALLING) | _BIAS[bias]
    attributes, count = b"", 0
    if debounce_us:
        attributes = _ATTRIBUTE.pack(_DEBOUNCE, 0, struct.pack("=II", debounce_us, 0), 1)
        count = 1
    offsets = [line] + [0] * (_LINES - 1)
    return _REQUEST.pack(*offsets, b"fleetco2 S0", flags, count, *[0] * 5, attributes, 1, _BUFFER_EVENTS, *[0] * 5, 0)


def open_line(chip: str, line: int, *, edge: Literal["rising", "falling"], bias: Bias, debounce_us: int) -> int:
    """A file descriptor that gives the line's events, without blocking. OSError tells what is wrong."""
    try:
        device = os.open(chip, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise OSError(f"{chip} does not exist; the chips of this machine are /dev/gpiochip*") from None
    except PermissionError:
        raise OSError(f"{chip} may not be opened by this user; add it to the group that owns it, often gpio") from None
    try:
        asked = bytearray(request(line, edge=edge, bias=bias, debounce_us=debounce_us))
        fcntl.ioctl(device, _GET_LINE, asked)
    except OSError as error:
        raise OSError(f"{chip} does not give line {line}: {error.strerror}; is it in use, or no GPIO chip?") from None
    finally:
        os.close(device)
    fd: int = _REQUEST.unpack(asked)[-1]
    os.set_blocking(fd, False)
    return fd


class EdgeCount:
    """Edges since the line was opened, from events read in pieces of any size."""

    __slots__ = ("_rest", "edges")

    def __init__(self) -> None:
        self.edges = 0
        self._rest = b""

    def feed(self, data: bytes) -> None:
        """Take what the descriptor gave."""
        data = self._rest + data
        whole = len(data) - len(data) % _EVENT.size
        self._rest = data[whole:]
        if whole:
            self.edges = max(self.edges, _EVENT.unpack_from(data, whole - _EVENT.size)[4])
