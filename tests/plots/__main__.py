"""``python -m tests.plots``: draw the fuel model beside published points; writes PNGs and a page into build/plots."""

import argparse
import importlib
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np

from stream.factors import ClassTable, parse_classes
from tests.plots.fuel_curves import (
    EEA,
    EEA_GRADES,
    EEA_SOURCE,
    EEA_SPEEDS_KMH,
    LOADS,
    against_published,
    gross_kg,
    is_battery,
    steady,
)

ROOT = Path(__file__).resolve().parent.parent.parent
COLOURS = {0.0: "#4477aa", 0.5: "#228833", 1.0: "#cc6677"}
WORDS = {0.0: "empty", 0.5: "half load", 1.0: "full"}
APART = {0.0: -0.7, 0.5: 0.0, 1.0: 0.7}  # km/h: equal points stay visible
SPEEDS = np.arange(10.0, 91.0, 1.0)
GRADES = np.arange(-0.06, 0.0601, 0.001)


def _figure(rows: int, columns: int, width: float, height: float) -> tuple[Any, Any]:
    """A figure without a display, and its axes as a grid."""
    figure = importlib.import_module("matplotlib.figure").Figure(figsize=(width, height), dpi=110, layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False)


def _legend() -> list[Any]:
    lines, patches = importlib.import_module("matplotlib.lines"), importlib.import_module("matplotlib.patches")
    kinds = [lines.Line2D([], [], color=COLOURS[x], label=f"model, {WORDS[x]}") for x in LOADS]
    point = {"color": "black", "linestyle": "none", "markerfacecolor": "white"}
    kinds.append(
        lines.Line2D([], [], marker="o", label="EMEP/EEA, mean of a cycle with stops (colour = load)", **point)
    )
    kinds.append(patches.Patch(color="grey", alpha=0.25, label="class default kWh/km and its band, mixed driving"))
    return kinds


def _draw_class(axes: Any, name: str, classes: ClassTable, band: tuple[float, float, float] | None) -> None:
    c = classes[name]
    for load in LOADS:
        points = [steady(c, v, load) for v in SPEEDS]
        axes.plot(SPEEDS, [p.use for p in points], color=COLOURS[load])
    title = f"{name}: {gross_kg(c, 0) / 1000:g} to {gross_kg(c, 1) / 1000:g} t"
    if name in EEA:
        eea_class, table = EEA[name]
        title += f"\nEEA {eea_class}"
        for speed, row in zip(EEA_SPEEDS_KMH, table, strict=True):
            for load, litres in zip(LOADS, row, strict=True):
                axes.plot(
                    speed + APART[load],
                    litres,
                    "o",
                    color=COLOURS[load],
                    markerfacecolor="white",
                    markersize=7,
                    mew=1.8,
                )
    elif band:
        low, value, high = band
        axes.axhspan(100 * low, 100 * high, color="grey", alpha=0.25, lw=0)
        axes.axhline(100 * value, color="grey", lw=1)
        title += "\nno published points"
    else:
        title += "\nno published points"
    axes.set_title(title, fontsize=10)
    axes.set_ylim(bottom=0)
    axes.set_xlim(5, 95)
    axes.grid(alpha=0.3)
    axes.set_xlabel("speed [km/h]")
    axes.set_ylabel("kWh/100 km, battery" if is_battery(c) else "l/100 km")


def draw_speed(classes: ClassTable, bands: dict[str, tuple[float, float, float]]) -> Any:
    """Small multiples: one class each, three loads."""
    names = [n for n, c in classes.items() if c.p_rated_kw > 0]
    columns = 3
    figure, grid = _figure(-(-len(names) // columns), columns, 13, 13)
    for axes, name in zip(grid.flat, names, strict=False):
        _draw_class(axes, name, classes, bands.get(name))
    for axes in grid.flat[len(names) :]:
        axes.set_axis_off()
    figure.legend(handles=_legend(), loc="outside lower center", ncols=3, frameon=False)
    figure.suptitle("Fuel or energy at a kept speed on the level, 15 °C, by load; points: means of cycles with stops")
    return figure


def draw_grade(classes: ClassTable) -> Any:
    """The artic over grade at 70 km/h, and over speed for each grade."""
    artic = classes["artic_40t"]
    figure, grid = _figure(1, 2, 13, 6)
    left, right = grid[0]
    for load in LOADS:
        points = [steady(artic, 70.0, load, g) for g in GRADES]
        use = np.array([p.use for p in points])
        capped = np.array([p.capped for p in points])
        left.plot(GRADES * 100, np.where(capped, math.nan, use), color=COLOURS[load], label=f"model, {WORDS[load]}")
        left.plot(GRADES * 100, np.where(capped, use, math.nan), color=COLOURS[load], linestyle=":")
    left.plot([], [], color="grey", linestyle=":", label="at rated power: 70 km/h cannot be kept")
    left.plot(
        list(EEA_GRADES),
        list(EEA_GRADES.values()),
        "o",
        color=COLOURS[0.5],
        markerfacecolor="white",
        markersize=8,
        mew=1.8,
        label="EMEP/EEA, half load, cycle mean 70 km/h",
    )
    for grade, litres in EEA_GRADES.items():
        model = steady(artic, 70.0, 0.5, grade / 100).use
        place: dict[str, Any] = {"xytext": (0, 12), "ha": "center"} if grade < 0 else {"xytext": (10, -5), "ha": "left"}
        left.annotate(f"{model:.1f} ({litres:g})", (grade, litres), textcoords="offset points", fontsize=9, **place)
    left.set_xlim(-7, 7)
    left.set(xlabel="grade [%]", ylabel="l/100 km", title="artic_40t at 70 km/h; labels: model (EMEP/EEA) at half load")
    left.legend(loc="upper left", fontsize=9)
    shades = importlib.import_module("matplotlib").colormaps["coolwarm"]
    widths = {-6: 7.0, -4: 4.5, -2: 2.0}  # these three lie upon each other
    for grade in (-6, -4, -2, 0, 2, 4, 6):
        points = [steady(artic, v, 0.5, grade / 100) for v in SPEEDS]
        use = np.array([p.use for p in points])
        capped = np.array([p.capped for p in points])
        colour = shades((grade + 6) / 12) if grade else "black"
        words = f"{grade:+d} %" if grade else "level"
        right.plot(SPEEDS, np.where(capped, math.nan, use), color=colour, lw=widths.get(grade, 1.6), label=words)
        right.plot(SPEEDS, np.where(capped, use, math.nan), color=colour, linestyle=":")
    right.set(
        xlabel="speed [km/h]",
        ylabel="l/100 km",
        title="artic_40t at half load by grade; dotted: at rated power, slower in truth",
    )
    right.legend(loc="upper right", fontsize=9, reverse=True)
    right.set_ylim(-3, 160)
    for axes in (left, right):
        axes.grid(alpha=0.3)
    return figure


def draw_deviation(classes: ClassTable) -> Any:
    """Model over published point, minus 1, over speed, by class and load."""
    figure, grid = _figure(1, len(EEA), 13, 5)
    for axes, name in zip(grid[0], EEA, strict=True):
        found = against_published(classes[name], name)
        for load in LOADS:
            percent = [100 * found[speed, load] for speed in EEA_SPEEDS_KMH]
            axes.plot(EEA_SPEEDS_KMH, percent, "o-", color=COLOURS[load], label=WORDS[load])
        axes.axhspan(-15, 15, color="grey", alpha=0.15, lw=0)
        axes.axhline(0, color="black", lw=0.8)
        axes.set(xlabel="speed [km/h]", title=name, ylim=(-45, 30), xticks=EEA_SPEEDS_KMH)
        axes.grid(alpha=0.3)
    grid[0][0].set_ylabel("steady model against EMEP/EEA cycle mean [%]")
    grid[0][0].legend(loc="lower right")
    figure.suptitle(
        "Below zero at low speed is expected: the points hold stops, the model here keeps its speed. Grey: ±15 %"
    )
    return figure


def deviation_table(classes: ClassTable) -> list[str]:
    """Markdown rows: class, load, and the deviation at each speed."""
    lines = [
        f"| class | load | {' | '.join(f'{v} km/h' for v in EEA_SPEEDS_KMH)} |",
        "|---|---|" + "---|" * len(EEA_SPEEDS_KMH),
    ]
    for name in EEA:
        found = against_published(classes[name], name)
        for load in LOADS:
            cells = " | ".join(f"{100 * found[v, load]:+.0f} %" for v in EEA_SPEEDS_KMH)
            lines.append(f"| {name} | {WORDS[load]} | {cells} |")
    return lines


def _bands(text: str) -> dict[str, tuple[float, float, float]]:
    """Class default of a battery vehicle's use [kWh/km]: low, value, high."""
    rows = [line.split(",") for line in text.splitlines() if ",kwh_km," in line]
    return {r[0]: (float(r[4]), float(r[2]), float(r[5])) for r in rows}


def main() -> int:
    """Exit code 1 where matplotlib is missing."""
    parser = argparse.ArgumentParser(prog="python -m tests.plots", description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "plots", help="folder for the pictures")
    out: Path = parser.parse_args().out
    try:
        importlib.import_module("matplotlib")
    except ModuleNotFoundError:
        print("the plots need matplotlib: pip install matplotlib", file=sys.stderr)
        return 1
    text = (ROOT / "stream" / "vehicle_classes.csv").read_text(encoding="utf-8")
    classes = parse_classes(text)
    out.mkdir(parents=True, exist_ok=True)
    figures = {
        "fuel_over_speed": draw_speed(classes, _bands(text)),
        "artic_over_grade": draw_grade(classes),
        "model_against_published": draw_deviation(classes),
    }
    page = [
        "# The fuel model beside published points",
        "",
        f"Points: {EEA_SOURCE}; means of driving cycles, stops included.",
        "",
    ]
    for name, figure in figures.items():
        figure.savefig(out / f"{name}.png")
        page += [f"![{name}]({name}.png)", ""]
    (out / "README.md").write_text("\n".join([*page, *deviation_table(classes), ""]), encoding="utf-8")
    print("\n".join(deviation_table(classes)))
    print(f"written to {out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
