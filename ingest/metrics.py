"""What the consumer did, as Prometheus text on a loopback port."""

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

import numpy as np

from devices.counters import Counters

LATENCY_WINDOW: Final = 8192  # commits kept for the quantiles: an hour at two commits a second
_QUANTILES: Final = (0.5, 0.99)


class Latencies:
    """Sliding windows of seconds, one value per commit: the oldest reading's way in it."""

    def __init__(self) -> None:
        self._values = np.zeros(LATENCY_WINDOW)
        self._n = 0

    def add(self, seconds: float) -> None:
        """One more; the oldest is forgotten."""
        self._values[self._n % LATENCY_WINDOW] = seconds
        self._n += 1

    def quantile(self, q: float) -> float | None:
        """The ``q`` quantile in seconds, None without values."""
        if self._n == 0:
            return None
        return float(np.quantile(self._values[: min(self._n, LATENCY_WINDOW)], q))


def prometheus_text(counters: Counters, latencies: dict[str, Latencies], gauges: dict[str, float]) -> str:
    """All counters, quantiles and gauges in the text exposition format."""
    lines: list[str] = []
    for name, total in sorted(counters.snapshot().items()):
        lines.append(f"# TYPE fleetco2_{name}_total counter")
        labels = counters.by_label(name)
        unlabelled = total - sum(labels.values())
        if unlabelled or not labels:
            lines.append(f"fleetco2_{name}_total {unlabelled}")
        lines += [f'fleetco2_{name}_total{{label="{label}"}} {n}' for label, n in sorted(labels.items())]
    for summary, window in latencies.items():
        lines.append(f"# TYPE fleetco2_{summary}_seconds summary")
        for q in _QUANTILES:
            seconds = window.quantile(q)
            lines.append(f'fleetco2_{summary}_seconds{{quantile="{q}"}} {"NaN" if seconds is None else seconds}')
    for gauge, value in gauges.items():
        lines += [f"# TYPE fleetco2_{gauge} gauge", f"fleetco2_{gauge} {value}"]
    return "\n".join(lines) + "\n"


def serve(port: int, text: Callable[[], str]) -> ThreadingHTTPServer:
    """Serve ``text()`` at /metrics on 127.0.0.1 in a thread of its own. OSError if the port is taken."""

    class Handler(BaseHTTPRequestHandler):
        timeout = 5

        def do_GET(self) -> None:
            if self.path != "/metrics":
                self.send_error(404)
                return
            body = text().encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
    return server
