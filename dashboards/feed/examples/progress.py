"""Plot a year of reduction progress from the feed: python dashboards/feed/examples/progress.py URL KEY TENANT YEAR OUT.png

Reads nothing but the feed. Needs matplotlib.
"""

# %% what the feed says, month by month
import json
import sys
import urllib.request
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.patches import Rectangle

MONTHS = range(1, 13)


def ask(url: str, key: str, path: str) -> Any:
    """One answer of the feed."""
    request = urllib.request.Request(f"{url}{path}", headers={"X-API-Key": key})  # noqa: S310  the caller's own address
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
        return json.load(answer)


def months(url: str, key: str, tenant: str, year: int) -> list[dict[str, Any]]:
    """The operator's figure of each month that has one."""
    found = []
    for month in MONTHS:
        answer = ask(url, key, f"/v1/progress?from={year}-{month:02d}&tenant={tenant}")
        found += [
            {**f, "month": month} for f in answer["figures"] if not f["hidden"] and f["co2e_kg"]["wtw"] is not None
        ]
    return found


# %% bars are what was emitted with its band, the line is the path to the target
def plot(figures: list[dict[str, Any]], title: str, out: str) -> None:
    """Absolute and intensity, one above the other."""
    shades = {"provisional": "#c7d3dd", "closed": "#6f94b3", "verified": "#2b5f8a"}
    fig, (top, bottom) = plt.subplots(2, 1, figsize=(9, 6), sharex=True, layout="constrained")
    x = [f["month"] for f in figures]
    tonnes = [f["co2e_kg"]["wtw"] / 1000 for f in figures]
    reach = [f["band"]["u_rel"] * t if f["band"] else 0.0 for f, t in zip(figures, tonnes, strict=True)]
    top.bar(x, tonnes, yerr=reach, color=[shades[f["state"]] for f in figures], capsize=3)
    held = [(f["month"], f["absolute"]) for f in figures if f["absolute"] and f["absolute"]["path"] is not None]
    if held:
        top.plot(
            [m for m, _ in held], [a["path"] / 1000 for _, a in held], "o-", color="#b5542c", label="path to target"
        )
        top.plot(
            [m for m, _ in held], [a["baseline"] / 1000 for _, a in held], "--", color="#555555", label="base year"
        )
    handles, labels = top.get_legend_handles_labels()
    handles += [Rectangle((0, 0), 1, 1, color=c) for c in shades.values()]
    top.legend(
        handles, [*labels, *shades], ncols=5, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, 1.0), frameon=False
    )
    top.set_ylim(0, 1.3 * max([*tonnes, *(a["baseline"] / 1000 for _, a in held)]))
    top.set_ylabel("t CO2e, well-to-wheel")
    top.set_title(title)
    known = [(f["month"], 1000 * f["intensity_kg_per_tkm"]["wtw"]) for f in figures if f["intensity_kg_per_tkm"]["wtw"]]
    bottom.bar([m for m, _ in known], [g for _, g in known], color="#7a9e7e")
    bottom.set_ylabel("g CO2e per t km")
    bottom.set_xticks(list(MONTHS))
    bottom.set_xlim(0.4, 12.6)
    bottom.set_xlabel("month")
    fig.savefig(out, dpi=120)


# %% from the command line
if __name__ == "__main__":
    base, api_key, operator, wanted, target = sys.argv[1:]
    plot(months(base, api_key, operator, int(wanted)), f"{operator}, {wanted}", target)
