"""PNG plots of a results document: throughput over message size, and the ratios as bars.

matplotlib is imported only here and only when a plot is wanted: measuring does not need it.
"""

from functools import partial
from pathlib import Path
from typing import Any

from loadtests.compare.ratios import median
from loadtests.compare.report import lines_of

colours = {"ours": "#1f6f8b", "peer": "#c9793b"}


def write_plots(results: dict[str, Any], stem: Path) -> list[Path]:
    """Write `STEM_sizes.png`, `STEM_stream_sizes.png`, `STEM_ratios.png` as far as there are such cases."""
    import matplotlib

    matplotlib.use("Agg")  # No window system on a test machine.
    written = []
    core = partial(_draw_sizes, sweep="size", rate="deliveries_per_s", title="1 publisher to 1 subscriber")
    streams = partial(
        _draw_sizes, sweep="stream_size", rate="messages_per_s", title="acknowledged publishes, window 4000"
    )
    for suffix, draw in (("sizes", core), ("stream_sizes", streams), ("ratios", _draw_ratios)):
        figure = draw(results)
        if figure is not None:
            path = stem.with_name(f"{stem.name}_{suffix}.png")
            figure.savefig(path, dpi=130, bbox_inches="tight")
            written.append(path)
    return written


def _draw_sizes(results: dict[str, Any], *, sweep: str, rate: str, title: str):
    """Messages a second (bars of the spread) and gigabytes a second over the size of the message."""
    from matplotlib.figure import Figure

    points = [case for case in results["cases"] if case["sweep"] == sweep]
    if len(points) < 2:
        return None
    figure = Figure(figsize=(11, 4.5))
    rate_axes, volume_axes = figure.subplots(1, 2)
    for side in ("ours", "peer"):
        sizes, middles, below, above = [], [], [], []
        for case in sorted(points, key=lambda case: case["x"]):
            rates = [s[rate] for s in case["samples"][side] if rate in s]
            if rates:
                middle = median(rates)
                sizes.append(case["x"])
                middles.append(middle)
                below.append(middle - min(rates))
                above.append(max(rates) - middle)
        style = {"color": colours[side], "label": results["servers"][side]["name"], "marker": "o"}
        rate_axes.errorbar(sizes, middles, yerr=(below, above), capsize=3, **style)
        volume = [size * rate / 1e9 for size, rate in zip(sizes, middles, strict=True)]
        volume_axes.plot(sizes, volume, **style)
    for axes, label in ((rate_axes, "messages a second"), (volume_axes, "payload, GB a second")):
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter("{x:.0f}")
        axes.set_xlabel("payload, bytes")
        axes.set_ylabel(label)
        axes.grid(alpha=0.3)
        axes.legend()
    rate_axes.set_yscale("log")
    figure.suptitle(f"{title}: median and spread")
    return figure


def _draw_ratios(results: dict[str, Any]):
    """A bar for each goal: how many times better than the peer, whatever direction "better" has."""
    from matplotlib.figure import Figure

    lines = [line for line in lines_of(results) if line.ratio and line.goal.has_bound]
    lines = [line for line in lines if not line.goal.absolute]
    if not lines:
        return None
    figure = Figure(figsize=(10, 1.2 + 0.34 * len(lines)))
    axes = figure.subplots()
    for place, line in enumerate(lines):
        smaller_is_better = line.goal.at_most is not None
        bounds = [line.ratio.smallest, line.ratio.median, line.ratio.largest]
        goal = line.goal.at_most if smaller_is_better else line.goal.at_least
        if smaller_is_better:
            # A ratio of 0 (nothing measurable) would be infinitely good: draw it as 1000 times.
            bounds = sorted(1 / max(0.001, bound) for bound in bounds)
            goal = 1 / goal
        low, middle, high = bounds
        colour = "#3a8f5c" if line.reached else "#b5483a"
        axes.barh(place, middle, color=colour, xerr=[[middle - low], [high - middle]], capsize=2)
        axes.plot([goal, goal], [place - 0.4, place + 0.4], color="black", linewidth=2)
    axes.axvline(1, color="grey", linestyle=":")
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter("{x:g}")
    axes.set_yticks(range(len(lines)), [f"{line.title}: {line.figure}" for line in lines], fontsize=8)
    axes.invert_yaxis()
    peer = results["servers"]["peer"]["name"]
    axes.set_xlabel(f"times better than {peer}: median and spread of pairs; black: goal")
    axes.grid(axis="x", alpha=0.3)
    return figure
