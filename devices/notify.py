"""What systemd is told: one datagram to the socket it names. Without systemd nothing happens."""

import os
import socket
from collections.abc import Mapping


def notify(state: str, environ: Mapping[str, str] = os.environ) -> bool:
    """Tell ``state``, such as "READY=1" or "WATCHDOG=1" (sd_notify(3)). Whether systemd was there to be told."""
    path = environ.get("NOTIFY_SOCKET", "")
    if not path.startswith(("/", "@")):
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        try:
            s.sendto(state.encode(), "\0" + path[1:] if path[0] == "@" else path)
        except OSError:  # the service goes on; without WATCHDOG=1 systemd restarts it
            return False
    return True
