"""``python -m simulators``: the demo, replay of recordings, compiling the kernels."""

import argparse
import asyncio
import json
import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from devices.config import ConfigError
from simulators.scenario import ScenarioError
from storage.errors import StorageError

_TRY = "SELECT route, sum(co2e_wtw_ug) / 1e9 AS kg_co2e_wtw FROM rollups GROUP BY route ORDER BY route"


def _positive(text: str) -> float:
    value = float(text)
    if not value > 0:
        raise argparse.ArgumentTypeError(f"{text} must be above 0")
    return value


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m simulators",
        description="The simulated world: traffic with known truth, and replay of recordings.",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    demo = commands.add_parser("demo", help="the whole system on one machine with live figures in the terminal")
    demo.add_argument(
        "--trucks", type=int, default=40, help="vehicles, shared out over the routes (default 40, 1 to 2000)"
    )
    demo.add_argument("--speed", type=_positive, default=1.0, help="virtual seconds a second (default 1: real time)")
    demo.add_argument("--duration", type=_positive, default=0.0, help="seconds to run; default: until Ctrl-C")
    demo.add_argument("--seed", type=int, default=7, help="of traffic, drivers, sensors (default 7)")
    demo.add_argument("--scenario", default="demo", help="a shipped scenario or a TOML file (default demo)")
    demo.add_argument("--factors", default="fleetco2-2025.2", help="factor set (default fleetco2-2025.2)")
    demo.add_argument("--port", type=int, default=0, help="port of the broker on loopback; default: a free one")
    demo.add_argument("--embedded-broker", action="store_true", help="use amqtt even where mosquitto is installed")
    demo.add_argument("--folder", type=Path, help="where everything is put (default build/demo/<time>)")
    demo.add_argument("--json", type=Path, help="write the final figures to this file")
    replay = commands.add_parser("replay", help="send recordings through gateway, broker and consumer to Parquet")
    replay.add_argument(
        "files",
        nargs="+",
        type=Path,
        help=".parquet, .csv, .nmea, candump .log, or the folder of a lake: its stored raw readings",
    )
    replay.add_argument(
        "--speed", type=_positive, default=1.0, help="times as fast as recorded; inf = as fast as it goes"
    )
    replay.add_argument(
        "--max-gap", type=_positive, default=math.inf, help="longest wait between two rows, recorded seconds"
    )
    replay.add_argument("--vehicle-class", default="car", help="class of the vehicles (default car)")
    replay.add_argument(
        "--fuel", default="diesel_avg", help="fuel where the recording does not say (default diesel_avg)"
    )
    replay.add_argument("--factors", default="fleetco2-2025.2", help="factor set (default fleetco2-2025.2)")
    replay.add_argument("--folder", type=Path, help="where everything is put (default build/replay/<time>)")
    replay.add_argument("--embedded-broker", action="store_true", help="use amqtt even where mosquitto is installed")
    accuracy = commands.add_parser("accuracy", help="reported figures against the simulated truth, as a table")
    accuracy.add_argument("--seed", type=int, default=7, help="of world and faults (default 7)")
    accuracy.add_argument("--scenario", default="demo", help="a shipped scenario or a TOML file (default demo)")
    accuracy.add_argument("--hours", type=_positive, default=24.0, help="virtual hours (default 24: the fleet's day)")
    accuracy.add_argument(
        "--live", type=float, default=20.0, help="seconds of a live run for the latency, 0 = none (default 20)"
    )
    accuracy.add_argument("--factors", default="fleetco2-2025.2", help="factor set (default fleetco2-2025.2)")
    accuracy.add_argument("--json", type=Path, help="write the figures to this file too")
    empty = commands.add_parser("emptiness", help="empty running against the simulated truth by evidence, as tables")
    empty.add_argument("--seed", type=int, default=7, help="of the world (default 7)")
    empty.add_argument("--scenario", default="demo", help="a shipped scenario or a TOML file (default demo)")
    empty.add_argument("--hours", type=_positive, default=24.0, help="virtual hours (default 24)")
    empty.add_argument("--evidence", default="", help="only kinds of evidence whose name begins so, for example CAN")
    empty.add_argument("--factors", default="fleetco2-2025.2", help="factor set (default fleetco2-2025.2)")
    events = commands.add_parser("events", help="events against the simulated truth and planted faults, as a table")
    events.add_argument("--seed", type=int, default=7, help="of the world (default 7)")
    events.add_argument(
        "--scenario", default="cold-trunk", help="a shipped scenario or a TOML file (default cold-trunk)"
    )
    events.add_argument("--hours", type=_positive, default=24.0, help="virtual hours (default 24)")
    events.add_argument("--factors", default="fleetco2-2025.1", help="factor set (default fleetco2-2025.1)")
    commands.add_parser("warm", help="compile all kernels into numba's cache on disk")
    return parser


def _folder(given: Path | None, kind: str) -> Path:
    return given or Path("build") / kind / time.strftime("%Y%m%d-%H%M%S")


def _demo(arguments: argparse.Namespace) -> int:
    from simulators.demo import run
    from simulators.demo_view import Options

    if not 1 <= arguments.trucks <= 2000:
        print(f"--trucks is {arguments.trucks}, must be 1 to 2000", file=sys.stderr)
        return 2
    options = Options(
        trucks=arguments.trucks,
        speed=arguments.speed,
        duration_s=arguments.duration,
        seed=arguments.seed,
        folder=_folder(arguments.folder, "demo"),
        port=arguments.port,
        embedded_broker=arguments.embedded_broker,
        factor_set=arguments.factors,
        scenario=arguments.scenario,
    )
    figures = asyncio.run(run(options))
    latency = figures["latency"]
    times = " ".join(f"{q} {latency[q]:.2f} s" for q in ("p50_s", "p99_s") if latency[q] is not None).replace("_s", "")
    print(
        f"sent {figures['sent']:,}  stored {figures['stored']:,}  lost {figures['lost']}  duplicated {figures['duplicated']}  "
        f"rejected {figures['rejected']}  {latency['of']} {times}"
    )
    print(f"Parquet: {figures['lake']}")
    print(f'try: python -m storage --lake {figures["lake"]} sql "{_TRY}"')
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    return 0 if figures["lost"] == figures["duplicated"] == 0 else 1


def _replay(arguments: argparse.Namespace) -> int:
    from rich.console import Console
    from rich.progress import Progress

    from simulators.replay_run import recorded, replay, stored, table

    lakes = [p for p in arguments.files if p.is_dir()]
    if lakes and len(arguments.files) > 1:
        raise ValueError(f"{lakes[0]} is a lake: replay it alone")
    if lakes:
        trips, registry = stored(lakes[0])
    else:
        trips, registry = recorded(arguments.files, vehicle_class=arguments.vehicle_class, fuel=arguments.fuel)
    folder = _folder(arguments.folder, "replay")
    print(f"{len(trips)} trips, {sum(t.ledger.rows for t in trips)} rows, speed {arguments.speed:g}, into {folder}")
    with Progress(transient=True, console=Console(stderr=True)) as progress:
        task = progress.add_task("readings confirmed", total=sum(t.ledger.rows for t in trips))
        results = asyncio.run(
            replay(
                trips,
                registry,
                folder,
                speed=arguments.speed,
                max_gap_s=arguments.max_gap,
                factor_set=arguments.factors,
                embedded_broker=arguments.embedded_broker,
                progress=lambda n: progress.update(task, completed=n),
            )
        )
    print(table(results))
    print(f'try: python -m storage --lake {folder}/lake sql "FROM emissions LIMIT 5"')
    return 0 if all(r.lost == 0 and r.duplicates == 0 for r in results) else 1


def _accuracy(arguments: argparse.Namespace) -> int:
    from rich.console import Console
    from rich.progress import Progress

    from simulators.accuracy import measure
    from simulators.accuracy_table import markdown, plain
    from simulators.demo import run
    from simulators.demo_view import Options

    with Progress(transient=True, console=Console(stderr=True)) as progress:
        task = progress.add_task("simulated time", total=1.0)
        report = measure(
            arguments.scenario,
            arguments.seed,
            hours=arguments.hours,
            factors=arguments.factors,
            progress=lambda done: progress.update(task, completed=done),
        )
    live = None
    if arguments.live > 0:
        print(f"live run of {arguments.live:g} s ...", file=sys.stderr)
        folder = _folder(None, "accuracy")
        live = asyncio.run(run(Options(seed=arguments.seed, duration_s=arguments.live, folder=folder, quiet=True)))
    date = time.strftime("%Y-%m-%d", time.gmtime())
    print(markdown(report, live, date))
    if arguments.json:
        arguments.json.write_text(json.dumps(plain(report, live, date), indent=1) + "\n", encoding="utf-8")
    return 0 if report.delivery.lost == report.delivery.duplicated == 0 else 1


def _emptiness(arguments: argparse.Namespace) -> int:
    from rich.console import Console
    from rich.progress import Progress

    from simulators.accuracy import fleet_of
    from simulators.accuracy_table import empty_table, judged_tables, missed_tables
    from simulators.emptiness import emptiness
    from simulators.fleet import build

    world = build(arguments.scenario, arguments.seed, warmup_s=3600)
    with Progress(transient=True, console=Console(stderr=True)) as progress:
        task = progress.add_task("simulated time", total=1.0)
        empty, judged, missed = emptiness(
            world,
            fleet_of(world, arguments.factors),
            arguments.hours,
            lambda done: progress.update(task, completed=done),
            arguments.evidence,
        )
    print(f"Scenario {arguments.scenario}, seed {arguments.seed}, {arguments.hours:g} h of virtual time.\n")
    print("\n".join([*empty_table(empty), *judged_tables(judged), *missed_tables(missed)]))
    return 0


def _events(arguments: argparse.Namespace) -> int:
    from rich.console import Console
    from rich.progress import Progress

    from simulators.event_accuracy import markdown, measure_events

    with Progress(transient=True, console=Console(stderr=True)) as progress:
        task = progress.add_task("simulated time", total=1.0)
        report = measure_events(
            arguments.scenario,
            arguments.seed,
            hours=arguments.hours,
            factors=arguments.factors,
            progress=lambda done: progress.update(task, completed=done),
        )
    print(markdown(report))
    return 0


def _warm() -> int:
    from simulators.warm import warm

    warm()
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 0 when it went well, 1 when readings were lost, 2 for what cannot be run."""
    from simulators.local_broker import BrokerError
    from simulators.server_process import DemoError

    arguments = _parser().parse_args(argv)
    try:
        if arguments.command == "demo":
            return _demo(arguments)
        if arguments.command == "replay":
            return _replay(arguments)
        if arguments.command == "accuracy":
            return _accuracy(arguments)
        if arguments.command == "emptiness":
            return _emptiness(arguments)
        if arguments.command == "events":
            return _events(arguments)
        return _warm()
    except (ScenarioError, DemoError, BrokerError, ConfigError, StorageError, ValueError, OSError) as error:
        print(f"{arguments.command}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
