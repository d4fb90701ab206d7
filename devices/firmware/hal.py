"""What the hardware offers: the one list. ``hal_stm32`` does it with ``machine``, ``hal_fake`` in memory."""


class Flash:
    """NOR flash: a write only clears bits, an erase sets a whole sector to 0xFF. Raises OSError if it does not answer."""

    sector_size = 4096
    sectors = 0

    def read(self, at: int, size: int) -> bytes:
        """``size`` bytes from the address ``at``."""
        raise NotImplementedError

    def write(self, at: int, data: bytes) -> None:
        """Clear bits so that an erased place holds ``data``."""
        raise NotImplementedError

    def erase(self, sector: int) -> None:
        """Set the bytes of a sector to 0xFF."""
        raise NotImplementedError


class Hal:
    """Everything but the flash, which is in ``flash``."""

    flash = Flash()

    def ticks_ms(self) -> int:
        """ms, modulo ``clock.TICKS_PERIOD``."""
        raise NotImplementedError

    def random_u32(self) -> int:
        """A true random number, 1 to 2^32-1."""
        raise NotImplementedError

    def after_watchdog(self) -> bool:
        """Whether this start was forced by the watchdog."""
        raise NotImplementedError

    def feed_watchdog(self) -> None:
        """Put off the forced restart."""
        raise NotImplementedError

    def uart_read(self) -> bytes:
        """What came since the last call, perhaps nothing. Never waits."""
        raise NotImplementedError

    def uart_write(self, data: bytes) -> int:
        """Send; gives how many bytes were taken. Never waits longer than they need on the line."""
        raise NotImplementedError

    def can_recv(self) -> tuple[int, bytes] | None:
        """(29-bit identifier, data) of the next frame of the bus, or None."""
        raise NotImplementedError

    def can_fault(self) -> bool:
        """Whether the controller reported errors or lost frames since the last call; brings it back from bus-off."""
        raise NotImplementedError

    def hx_ready(self) -> bool:
        """Whether DOUT of the HX711 is low."""
        raise NotImplementedError

    def hx_clock(self) -> int:
        """One pulse on PD_SCK, shorter than 50 µs; gives DOUT while it is high."""
        raise NotImplementedError

    def hx_reset(self) -> None:
        """PD_SCK high for more than 60 µs, then low."""
        raise NotImplementedError

    def pressure_mv(self) -> int:
        """Voltage of the pressure sensor, before the divider."""
        raise NotImplementedError

    def tare_pressed(self) -> bool:
        """Whether the tare button is held down."""
        raise NotImplementedError

    def pulses_irq(self, on_edge: object) -> None:
        """Have ``on_edge(input, closed, ticks_ms)`` called now with each input's level, then at each edge in an interrupt."""
        raise NotImplementedError

    def lock(self) -> int:
        """Interrupts off; gives what ``unlock`` wants."""
        raise NotImplementedError

    def unlock(self, state: int) -> None:
        """Interrupts as they were."""
        raise NotImplementedError
