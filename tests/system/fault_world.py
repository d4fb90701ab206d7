"""The real processes of a fault run: mosquitto, ``python -m ingest``, gateways; started again when they die, as by systemd."""

import asyncio
import atexit
import base64
import bisect
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec

from devices.signing import make_ed25519
from simulators.local_broker import find_mosquitto, free_port
from simulators.registry_files import write_registry
from tests.support import ROOT
from tests.system.fault_gateways import Settings

TENANT: Final = "acme"
RESTART_S: Final = 0.2  # a supervisor starts a process again after this
SETTLE_S: Final = 240.0  # everything is delivered within this after the last fault, or the run has failed
START_S: Final = 90.0  # of a consumer that may have to compile its kernels
DEPLOY: Final = ROOT / "ingest" / "deploy" / "mosquitto.conf"


class FaultRunError(AssertionError):
    """The run cannot be judged good: something did not come back."""


_STARTED: Final[set[subprocess.Popen[bytes]]] = set()


@atexit.register
def _kill_all() -> None:
    """Whatever ended this process, a second Ctrl-C in the middle of the cleaning up too: what it started ends with it."""
    for popen in _STARTED:
        if popen.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(popen.pid, signal.SIGKILL)


def _environment(*, traced: bool) -> dict[str, str]:
    """Starts find the bytecode of the first one, as where it was installed with it (1.4 s of CPU less); only what is traced makes none."""
    kept = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    return kept | {"PYTHONUNBUFFERED": "1"} | ({"PYTHONDONTWRITEBYTECODE": "1"} if traced else {})


@dataclass
class Process:
    """One program that ``World`` keeps running. ``prefix`` goes before its command at the next start (strace, for example)."""

    name: str
    command: list[str]
    folder: Path
    keep: bool = True
    prefix: tuple[str, ...] = ()
    has_input: bool = False
    started_ns: list[int] = field(default_factory=list)
    codes: list[int] = field(default_factory=list)
    said: dict[str, float] = field(default_factory=dict)
    rss_mib: list[tuple[float, float]] = field(default_factory=list)
    _popen: subprocess.Popen[bytes] | None = None
    _wrapped: bool = False
    _held: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start it, in a process group of its own; what it says goes to ``<name>.log``, a gateway's figures to ``said``."""
        with (self.folder / f"{self.name}.log").open("ab") as log:
            self._popen = subprocess.Popen(
                [*self.prefix, *self.command],
                cwd=ROOT,
                stdin=subprocess.PIPE if self.has_input else subprocess.DEVNULL,
                stdout=subprocess.PIPE if self.has_input else log,
                stderr=log,
                start_new_session=True,
                env=_environment(traced=bool(self.prefix)),
            )
        _STARTED.add(self._popen)
        self._wrapped = bool(self.prefix)
        self.said = {}
        self.started_ns.append(time.time_ns())
        if self.has_input:
            self._held = asyncio.create_task(self._listen(self._popen))

    async def _listen(self, popen: subprocess.Popen[bytes]) -> None:
        """Take in the lines of JSON that a gateway process says; without it the pipe would fill up and hold it."""
        reader = asyncio.StreamReader()
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), popen.stdout
        )
        try:
            async for line in reader:
                with contextlib.suppress(ValueError):
                    self.said = json.loads(line)
        finally:
            transport.close()

    @property
    def pid(self) -> int:
        """Of the program itself, not of what traces it; 0 if it does not run."""
        if self._popen is None or self._popen.poll() is not None:
            return 0
        if not self._wrapped:
            return self._popen.pid
        with contextlib.suppress(OSError, ValueError, IndexError):
            children = Path(f"/proc/{self._popen.pid}/task/{self._popen.pid}/children").read_text().split()
            return int(children[0])
        return 0

    @property
    def ended(self) -> bool:
        """Whether it does not run now."""
        return self._popen is None or self._popen.poll() is not None

    def signal(self, number: int) -> None:
        """Send a signal to the program; nothing happens where it is gone."""
        if pid := self.pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def kill(self) -> None:
        """kill -9, of the whole group."""
        if self._popen is not None and self._popen.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._popen.pid, signal.SIGKILL)
            if pid := self.pid:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self._popen.wait()

    def end_input(self) -> None:
        """Close its standard input: gateways end their sources."""
        if self._popen is not None and self._popen.stdin is not None:
            self._popen.stdin.close()

    def reap(self) -> bool:
        """Whether it has ended since the last look."""
        if self._popen is None or self._popen.poll() is None:
            return False
        _STARTED.discard(self._popen)
        self.codes.append(self._popen.returncode)
        self.end_input()
        self._popen = None
        return True

    async def close(self) -> None:
        """End it for good, SIGKILL after 20 s, and let go of its pipes."""
        self.keep = False
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGTERM)
        if self._popen is not None:
            try:
                await asyncio.to_thread(self._popen.wait, 20)
            except subprocess.TimeoutExpired:
                self.kill()
        self.reap()
        if self._held is not None:
            self._held.cancel()
            await asyncio.gather(self._held, return_exceptions=True)

    def look(self, now_s: float) -> None:
        """Note its resident memory [MiB]."""
        with contextlib.suppress(OSError, IndexError, ValueError):
            if pid := self.pid:
                pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
                self.rss_mib.append((now_s, pages * os.sysconf("SC_PAGE_SIZE") / 2**20))

    @property
    def peak_mib(self) -> float:
        """Most resident memory seen."""
        return max((mib for _, mib in self.rss_mib), default=0.0)


@dataclass
class World:
    """Broker, consumer and gateways on one folder. ``async with world(...)`` makes it; faults act on its processes."""

    folder: Path
    rng: random.Random
    broker: Process
    server: Process
    gateways: list[Process]
    port: int
    metrics_port: int
    commit_s: float
    peaks: dict[str, float] = field(default_factory=dict)  # greatest value of each metric seen
    metric_names: set[str] = field(default_factory=set)

    @property
    def ledger(self) -> Path:
        """Folder of the ledgers."""
        return self.folder / "ledger"

    @property
    def lake(self) -> Path:
        """The lake, which a run may have put on a disk of its own."""
        return self.folder / "lake"

    @property
    def processes(self) -> list[Process]:
        """All of them, the broker first."""
        return [self.broker, self.server, *self.gateways]

    def said(self, name: str) -> float:
        """A figure summed over the gateway processes: connected, sent, confirmed, unconfirmed, thinned, reconnects, repeated."""
        return sum(g.said.get(name, 0.0) for g in self.gateways)

    async def metrics(self) -> dict[str, float]:
        """The consumer's metrics by their Prometheus name, labels included; empty while it does not answer."""
        return await asyncio.to_thread(self._metrics)

    def _metrics(self) -> dict[str, float]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=1) as answer:
                text = answer.read().decode()
        except OSError:
            return {}
        found = {n: float(v) for n, v in (x.rsplit(" ", 1) for x in text.splitlines() if not x.startswith("#"))}
        self.metric_names |= set(found)
        for name, value in found.items():
            self.peaks[name] = max(self.peaks.get(name, value), value)
        return found

    async def until(self, true: Callable[[], bool], what: str, limit_s: float = SETTLE_S) -> None:
        """Wait for ``true``; FaultRunError names ``what`` did not come."""
        end = time.monotonic() + limit_s
        while not true():
            if time.monotonic() > end:
                said = {g.name: g.said for g in self.gateways}
                raise FaultRunError(f"{what} did not come within {limit_s:g} s: {said}; {self._last_words()}")
            await asyncio.sleep(0.05)

    def _last_words(self) -> str:
        log = self.folder / f"{self.server.name}.log"
        return log.read_text(errors="replace")[-600:] if log.exists() else ""

    async def flowing(self) -> None:
        """Wait until every gateway has had a confirmation."""
        await self.until(lambda: all(g.said.get("confirmed", 0) > 0 for g in self.gateways), "a first confirmation")

    async def progress(self, when: str, readings: int, limit_s: float = 120.0) -> None:
        """Wait until so many more readings are confirmed."""
        wanted = self.said("confirmed") + readings
        await self.until(lambda: self.said("confirmed") >= wanted, f"a confirmation {when}", limit_s)

    async def settle(self, limit_s: float = SETTLE_S) -> float:
        """End the sources, wait until the server has confirmed everything, then end all processes; seconds it took."""
        begun = time.monotonic()
        for gateway in self.gateways:
            if gateway.ended:  # it died a moment ago: its successor has no input left to be ended, so it comes first
                await self.until(lambda g=gateway: not g.ended, f"{gateway.name} anew", 10)  # type: ignore[misc]
            gateway.keep = False
            gateway.end_input()
        await self.until(lambda: all(g.ended for g in self.gateways), "the last confirmation", limit_s)
        took = time.monotonic() - begun
        await self.metrics()
        await self.server.close()
        await self.broker.close()
        return took

    async def _supervise(self) -> None:
        due: dict[str, float] = {}
        looked = 0.0
        while True:
            now = time.monotonic()
            for process in self.processes:
                if process.reap() or (process.ended and process.keep and process.name not in due):
                    due[process.name] = now + RESTART_S
                if process.ended and process.keep and now >= due.get(process.name, now):
                    due.pop(process.name, None)
                    process.start()
            if now - looked > 0.25:
                looked = now
                for process in self.processes:
                    process.look(now)
            await asyncio.sleep(0.03)


def broker_config(folder: Path, port: int, *, persistent: bool) -> str:
    """The shipped configuration's limits on a listener of loopback."""
    shipped = DEPLOY.read_text()
    limits = shipped[shipped.index("max_packet_size") : shipped.index("# --- a restart keeps")]
    kept = shipped[shipped.index("persistence true") : shipped.index("log_dest stderr")]
    rest = kept.replace("/var/lib/mosquitto/", f"{folder}/broker/") if persistent else "persistence false\n"
    (folder / "broker").mkdir(exist_ok=True)
    return f"listener {port} 127.0.0.1\nallow_anonymous true\nuser root\n{limits}{rest}log_dest stderr\nlog_type error\nlog_type warning\n"


@contextlib.asynccontextmanager
async def world(
    folder: Path,
    seed: int,
    *,
    gateways: int = 12,
    processes: int = 1,
    persistent: bool = False,
    embedded: bool = False,
    gateway_port: int | None = None,
    server_port: int | None = None,
    port: int = 0,
    fleet: Mapping[str, Any] | None = None,
    start: bool = True,
    **settings: Any,
) -> AsyncIterator[World]:
    """Run a world while the block runs. ``fleet`` adds lines to the consumer's configuration, ``settings`` to the gateways'.

    ``gateway_port`` and ``server_port`` lead through a proxy; by default both go to the broker itself.
    """
    port = port or free_port()
    metrics_port = free_port()
    names = [f"gw-{i:03d}" for i in range(gateways)]
    (folder / "keys").mkdir(parents=True)
    (folder / "ledger").mkdir()
    keys = {name: base64.b64decode(make_ed25519(folder / "keys" / f"{name}.key")).hex() for name in names}
    rows = [
        {"vehicle": f"v-{n}", "device": n, "vehicle_class": "artic_40t", "fuel": "diesel_b7", "public_key": keys[n]}
        for n in names
    ]
    write_registry(folder / "registry", {"vehicles": rows})
    protocol = "3.1.1" if embedded else "auto"
    more = "".join(f"{k} = {v}\n" for k, v in (fleet or {}).items() if not isinstance(v, dict))
    tables = "".join(
        f"[{k}]\n" + "".join(f"{a} = {b}\n" for a, b in v.items())
        for k, v in (fleet or {}).items()
        if isinstance(v, dict)
    )
    (folder / "fleet.toml").write_text(
        f'tenants = ["{TENANT}"]\nregistry = "registry"\nlake = "lake"\nmetrics_port = {metrics_port}\n{more}'
        f'[broker]\nhost = "127.0.0.1"\nport = {server_port or port}\nprotocol = "{protocol}"\nkeepalive_s = 5\n{tables}'
    )
    made = World(
        folder=folder,
        rng=random.Random(seed),
        broker=Process("broker", _broker_command(folder, port, persistent=persistent, embedded=embedded), folder),
        server=Process("server", [sys.executable, "-m", "ingest", "--config", str(folder / "fleet.toml")], folder),
        gateways=[],
        port=port,
        metrics_port=metrics_port,
        commit_s=float(settings.get("commit_s", Settings(folder="", devices=[], port=0).commit_s)),
    )
    for i in range(processes):
        mine = Settings(
            folder=str(folder),
            devices=names[i::processes],
            port=gateway_port or port,
            protocol=protocol,  # type: ignore[arg-type]
            tenant=TENANT,
            seed=seed,
            **settings,
        )
        path = folder / f"gateways-{i}.json"
        path.write_bytes(msgspec.json.encode(mine))
        command = [sys.executable, "-m", "tests.system.fault_gateways", str(path)]
        made.gateways.append(Process(f"gateways-{i}", command, folder, has_input=True))
    supervisor: asyncio.Task[None] | None = None
    try:
        if start:
            made.broker.start()
            made.server.start()
            await _answering(made)
            for gateway in made.gateways:
                gateway.start()
            supervisor = asyncio.create_task(made._supervise())
            await made.flowing()
        yield made
    finally:
        if supervisor is not None:
            supervisor.cancel()
            await asyncio.gather(supervisor, return_exceptions=True)
        for process in made.processes:
            process.keep = False
            process.kill()
            await process.close()


async def _answering(made: World) -> None:
    end = time.monotonic() + START_S
    while (await made.metrics()).get("fleetco2_connected") != 1:
        if made.server.ended or made.broker.ended or time.monotonic() > end:
            raise FaultRunError(f"the consumer did not start: {made._last_words()}")
        await asyncio.sleep(0.1)


def _broker_command(folder: Path, port: int, *, persistent: bool, embedded: bool) -> list[str]:
    if embedded:
        config = folder / "amqtt.yaml"
        config.write_text(
            f"listeners:\n  default:\n    type: tcp\n    bind: 127.0.0.1:{port}\ntimeout_disconnect_delay: 2\n"
            "plugins:\n  amqtt.plugins.authentication.AnonymousAuthPlugin:\n    allow_anonymous: true\n"
        )
        return [sys.executable, "-m", "amqtt.scripts.broker_script", "-c", str(config)]
    found = find_mosquitto()
    if found is None:
        raise FileNotFoundError("mosquitto is not installed on this machine")
    (folder / "mosquitto.conf").write_text(broker_config(folder, port, persistent=persistent))
    return [found, "-c", str(folder / "mosquitto.conf")]


def commits_ns(lake: Path) -> list[int]:
    """When each commit with readings was written, by the files of the log that stand [ns since 1970]."""
    found = []
    for path in (lake / "readings" / "_delta_log").glob("*.json"):
        text = path.read_text()
        if '"add"' in text and '"dataChange":true' in text:
            found.append(path.stat().st_mtime_ns)
    return sorted(found)


def recoveries_s(starts_ns: Sequence[int], commits: Sequence[int], received: Sequence[int]) -> list[float]:
    """Seconds from each moment to the first commit of a reading received after it; all [ns] and sorted.

    A moment without one, because nothing was left to deliver, is left out.
    """
    found = []
    for at in starts_ns:
        came = bisect.bisect_right(received, at)
        if came < len(received) and (done := bisect.bisect_right(commits, received[came])) < len(commits):
            found.append((commits[done] - at) * 1e-9)
    return found


def strace() -> str | None:
    """Path of strace, or None."""
    return shutil.which("strace")


def verified(lake: Path) -> str:
    """What ``python -m storage verify`` finds wrong; "" if nothing."""
    done = subprocess.run(
        [sys.executable, "-m", "storage", "--lake", str(lake), "verify"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    return "" if done.returncode == 0 else (done.stdout + done.stderr).strip()[-400:]
