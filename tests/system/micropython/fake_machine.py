"""A ``machine``, a ``time`` and an ``os`` of memory for ``hal_stm32``: what its peripherals do, by their documents.

The flash is a W25Q: commands between the edges of CS, a write enable before each change, a page program that wraps within
its page and only clears bits, a status that is busy for a while.
"""
# mypy: ignore-errors

now_ms = 1_000
irq_depth = 0
pins = {}
fed = []
uart_in = b""
uart_out = b""
can_frames = []
can_state = 1
can_restarts = 0
memory = bytearray(b"\xff" * (1 << 20))
adc_u16 = 0
hx_bits = []  # conversions to come
hx_pulse = 0

WDT_RESET = 3
PWRON_RESET = 1


def reset_cause():
    return PWRON_RESET


def disable_irq():
    global irq_depth
    irq_depth += 1
    return irq_depth - 1


def enable_irq(state):
    global irq_depth
    irq_depth = state


class Pin:
    IN = 0
    OUT = 1
    PULL_UP = 2
    IRQ_RISING = 1
    IRQ_FALLING = 2

    def __init__(self, name, mode=0, pull=0, value=None):
        self.name = name
        self.level = 1 if value is None else value
        self.handler = None
        pins[name] = self

    def __call__(self, level):
        self.value(level)

    def value(self, level=None):
        global hx_pulse
        if level is None:
            return hx_dout() if self.name == "E11" else self.level
        if self.name == "A4":
            chip.select(not level)
        if self.name == "E9" and level and not self.level:
            assert irq_depth, "an interrupt could hold the clock high for too long"
            hx_pulse += 1
        self.level = level
        return None

    def irq(self, handler, trigger, hard=False):
        assert hard
        assert trigger == Pin.IRQ_RISING | Pin.IRQ_FALLING
        self.handler = handler

    def edge(self, level):
        self.level = level
        self.handler(self)


def hx_dout():
    """Low when a conversion is ready and not yet clocked out, its bits while it is, high behind."""
    if not hx_bits or hx_pulse > 24:
        return 1
    return 0 if hx_pulse == 0 else hx_bits[0] >> (24 - hx_pulse) & 1


def hx_next():
    """The end of a conversion; gives the pulses that it got."""
    global hx_pulse
    pulses, hx_pulse = hx_pulse, 0
    hx_bits.pop(0)
    return pulses


class Chip:
    def __init__(self):
        self.selected = False
        self.command = b""
        self.enabled = False
        self.busy = 0
        self.pages = 0

    def select(self, on):
        if self.selected and not on:
            self.end()
        self.selected = bool(on)
        self.command = b""

    def address(self):
        return int.from_bytes(self.command[1:4], "big")

    def take(self, data):
        assert self.selected
        self.command += data

    def give(self, size):
        assert self.selected
        code = self.command[0]
        if code == 0x9F:
            return bytes((0xEF, 0x40, 20))[:size]
        if code == 0x05:
            self.busy = max(0, self.busy - 1)
            return bytes((1 if self.busy else 0,)) * size
        assert code == 0x03
        assert not self.busy
        return bytes(memory[self.address() : self.address() + size])

    def end(self):
        code = self.command[0] if self.command else 0
        if code == 0x06:
            assert not self.busy
            self.enabled = True
        elif code in (0x02, 0x20):
            assert self.enabled
            assert not self.busy
            self.enabled = False
            self.busy = 3
            at = self.address()
            if code == 0x20:
                at -= at % 4096
                memory[at : at + 4096] = b"\xff" * 4096
            else:
                self.pages += 1
                for i in range(len(self.command) - 4):
                    memory[at - at % 256 + (at + i) % 256] &= self.command[4 + i]


chip = Chip()


class SPI:
    def __init__(self, number, baudrate, polarity, phase):
        assert (number, polarity, phase) == (3, 0, 0)

    def write(self, data):
        chip.take(bytes(data))

    def read(self, size):
        return chip.give(size)


class UART:
    def __init__(self, number, baudrate, timeout, timeout_char, rxbuf):
        assert (number, baudrate, timeout) == (2, 115_200, 0)

    def any(self):
        return len(uart_in)

    def read(self, size):
        global uart_in
        data, uart_in = uart_in[:size], uart_in[size:]
        return data or None

    def write(self, data):
        global uart_out
        if not data:
            return None
        uart_out += data[:30]
        return min(30, len(data))


class ADC:
    def __init__(self, pin):
        assert pin == "A3"

    def read_u16(self):
        return adc_u16


class WDT:
    def __init__(self, timeout):
        assert timeout == 8_000

    def feed(self):
        fed.append(now_ms)


class CAN:
    MODE_SILENT = 3
    FLAG_RTR = 1
    FLAG_EXT_ID = 2
    RECV_ERR_FULL = 1
    RECV_ERR_OVERRUN = 2
    STATE_ACTIVE = 1
    STATE_PASSIVE = 3
    STATE_BUS_OFF = 4
    FILTERS_MAX = 14

    def __init__(self, number, bitrate, mode):
        assert (number, bitrate, mode) == (1, 250_000, CAN.MODE_SILENT), "it must never drive a truck's bus"
        self.filters = ()

    def set_filters(self, filters):
        self.filters = filters

    def recv(self):
        while can_frames:
            frame = can_frames.pop(0)
            for can_id, mask, flags in self.filters:
                if frame[0] & mask == can_id & mask and (frame[2] ^ flags) & CAN.FLAG_EXT_ID == 0:
                    return [frame[0], memoryview(frame[1]), frame[2], frame[3]]
        return None

    def state(self):
        return can_state

    def restart(self):
        global can_state, can_restarts
        can_state = CAN.STATE_ACTIVE
        can_restarts += 1


class Time:
    """Stands for the module ``time``."""

    def ticks_ms(self):
        return now_ms & 0x3FFFFFFF

    def ticks_diff(self, a, b):
        return a - b

    def sleep_us(self, us):
        assert us > 60


class Os:
    """Stands for the module ``os``."""

    def urandom(self, size):
        return bytes(range(17, 17 + size))
