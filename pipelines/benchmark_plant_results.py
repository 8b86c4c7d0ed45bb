"""Results of the benchmark on plants simulated anew: the summary over the plants, and its tables.

The mapping that goes to the JSON file has ``data_set``, ``title``, ``protocol``, ``version`` and
``git_revision`` as in `pipelines.benchmark_results`, and ``plants``: by the name of the folder its
``sha256`` and ``steps``, one for each detector and size of data (``vae.full``, ``pca.small``).

Each step has ``thresholds`` (``share_1``, ``share_0.1``, ``budget``), ``figures`` at each of them
(those of ``tep`` in `pipelines.benchmark_figures.make_figures`), ``normal`` (of each unseen normal
run the rows scored, the rows that reached each threshold, the alarms raised at that of the budget),
``budget`` and ``seconds``; with all data also ``missing`` (of each draw the channels, the rows
scored and those that reached the 1% threshold) and ``injected`` (of each kind of fault how many
were tried, found, and named first or among three). Or only ``refused``: why it would not learn.

``summary`` has, by detector, what is measured over all plants; spread is the sample standard
deviation over the plants.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.table import Table

from models.config import ReconstructorName
from models.metrics import pooled_share
from pipelines.benchmark_data import PLANT_WINDOW
from pipelines.benchmark_results import Results
from pipelines.threshold import rate_interval

TITLES: dict[ReconstructorName, str] = {
    "window_pca": "window-PCA, our head",
    "pca": "PCA T²+Q, our calibration",
    "vae": "VAE",
}
"""The detectors, the quickest first."""
FIGURES = (
    "fdr",
    "fdr_without_3_9_15",
    "far",
    "fdr_at_far_1",
    "fdr_without_3_9_15_at_far_1",
    "found",
)
THRESHOLDS = {"share_1": "1% of rows", "share_0.1": "0.1% of rows", "budget": "default budget"}


@dataclass(frozen=True)
class TextTable:
    """A table for the terminal and for Markdown."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def rich(self) -> Table:
        """For the terminal."""
        table = Table(title=self.title, title_justify="left")
        for number, name in enumerate(self.head):
            table.add_column(name, justify="right" if number else "left", no_wrap=not number)
        for row in self.rows:
            table.add_row(*row)
        return table

    def markdown(self) -> str:
        """For a page."""
        lines = [self.head, ("---", *("---:" for _ in self.head[1:])), *self.rows]
        body = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        return f"{self.title}\n\n{body}\n"


def summarise(results: Results) -> Results:
    """What is measured of each detector over all plants that are done."""
    return {name: found for name in TITLES if (found := _summary(results, name))}


def _summary(results: Results, name: ReconstructorName) -> Results:
    found: Results = {}
    for size in ("full", "small"):
        steps = _steps(results, f"{name}.{size}")
        if steps:
            found[size] = {
                "plants": len(steps),
                "figures": {
                    threshold: {figure: _spread(steps, threshold, figure) for figure in FIGURES}
                    for threshold in THRESHOLDS
                },
                "promises": {key: _promise(steps, key) for key in ("share_1", "share_0.1")},
            }
            if size == "full":
                found[size] |= {
                    "budget": _budget(steps),
                    "sensors": _sensors(steps),
                    "missing": _missing(steps),
                    "injected": _injected(steps),
                }
    return found


def _steps(results: Results, name: str) -> list[Results]:
    """That step of all plants, where it is done and was not refused."""
    steps = [plant["steps"].get(name) for plant in results["plants"].values()]
    return [step for step in steps if step and "refused" not in step]


def _spread(steps: Sequence[Results], threshold: str, figure: str) -> Results:
    values = [step["figures"][threshold][figure] for step in steps]
    spread = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return {"mean": float(np.mean(values)), "spread": spread}


def _promise(steps: Sequence[Results], threshold: str) -> Results:
    """Share of unseen normal rows that reach a threshold; the interval is over the runs."""
    runs = [run for step in steps for run in step["normal"]]
    reached = np.array([run["reached"][threshold] for run in runs], dtype=np.float64)
    rows = np.array([run["rows"] for run in runs], dtype=np.float64)
    share = pooled_share(reached, rows, length=PLANT_WINDOW.length, seed=0)
    return {
        "runs": len(runs),
        "rows": int(rows.sum()),
        "share": share.value,
        "low": share.low,
        "high": share.high,
    }


def _budget(steps: Sequence[Results]) -> Results:
    """Alarms that unseen normal running raised, and whether the budget lies in their interval."""
    runs = [run for step in steps for run in step["normal"]]
    alarms, days = sum(run["alarms"] for run in runs), sum(run["days"] for run in runs)
    low, high = rate_interval(alarms, days)
    budget = steps[0]["budget"]["per_day"]
    return {
        "per_day": budget,
        "alarms": alarms,
        "days": days,
        "realised_per_day": alarms / days,
        "low": low,
        "high": high,
        "inside": low <= budget <= high,
    }


def _sensors(steps: Sequence[Results]) -> Results:
    """Events that blamed a sensor in unseen normal running, with a 90% interval."""
    runs = [run for step in steps for run in step["normal"]]
    events, days = sum(run["sensor_events"] for run in runs), sum(run["days"] for run in runs)
    low, high = rate_interval(events, days)
    return {"events": events, "days": days, "per_day": events / days, "low": low, "high": high}


def _missing(steps: Sequence[Results]) -> Results:
    draws = [draw for step in steps for draw in step["missing"]]
    shares = [draw["reached"] / draw["rows"] for draw in draws]
    return {"draws": len(draws), "mean": float(np.mean(shares)), "largest": max(shares)}


def _injected(steps: Sequence[Results]) -> Results:
    """By kind, and of all kinds together: how many were tried, found, and named."""
    faults = [fault for step in steps for fault in step["injected"]]
    kinds = [*dict.fromkeys(fault["kind"] for fault in faults), "all"]
    return {
        kind: {
            count: sum(fault[count] for fault in faults if kind in {fault["kind"], "all"})
            for count in ("tried", "found", "first_hits", "three_hits")
        }
        for kind in kinds
    }


def make_tables(results: Results) -> list[TextTable]:
    """The tables of what is done."""
    makers: tuple[Callable[[Results], TextTable], ...] = (
        lambda summary: _detection(summary, "full"),
        lambda summary: _detection(summary, "small"),
        _promises,
        _attribution,
    )
    tables = [make(results["summary"]) for make in makers]
    return [table for table in tables if table.rows]


def write_markdown(results: Results, path: Path) -> None:
    """Write the tables and the protocol as a page."""
    plants = ", ".join(results["plants"])
    parts = [
        f"# {results['title']}\n",
        f"Plants: {plants}. Version {results['version']}, revision {results['git_revision']}.\n",
        *(table.markdown() for table in make_tables(results)),
        f"{results['protocol']}\n",
    ]
    path.write_text("\n".join(parts), encoding="utf-8")


def _detection(summary: Results, size: str) -> TextTable:
    """FDR at each threshold, never without the FAR that came with it."""
    rows = []
    for name, found in _sized(summary, size):
        figures = found["figures"]
        for threshold, words in THRESHOLDS.items():
            here = figures[threshold]
            cells = [_percent(here[key]) for key in ("fdr_without_3_9_15", "fdr", "far")]
            rows.append((TITLES[name], str(found["plants"]), words, *cells))
        here = figures["share_1"]
        cells = [_percent(here[f"{key}_at_far_1"]) for key in ("fdr_without_3_9_15", "fdr")]
        rows.append((TITLES[name], str(found["plants"]), "matched, for comparison", *cells, "1"))
    what = "all training runs" if size == "full" else "small data: the first rows of one run"
    return TextTable(
        f"Detection, {what}: mean and spread over the plants, in %",
        ("detector", "plants", "threshold", "FDR without 3, 9, 15", "FDR", "FAR"),
        tuple(rows),
    )


def _promises(summary: Results) -> TextTable:
    rows = []
    for name, found in _sized(summary, "full"):
        promises, budget, missing = found["promises"], found["budget"], found["missing"]
        cells = [
            f"{_share(one['share'])} [{_share(one['low'])}, {_share(one['high'])}]"
            for one in promises.values()
        ]
        alarms = (
            f"{budget['alarms']} in {budget['days']:.0f} d: {budget['realised_per_day']:.3f} "
            f"[{budget['low']:.3f}, {budget['high']:.3f}]"
        )
        inside = "inside" if budget["inside"] else "outside"
        silent = f"{_share(missing['mean'])}, largest {_share(missing['largest'])}"
        runs = str(promises["share_1"]["runs"])
        blamed = found["sensors"]
        events = f"{blamed['per_day']:.3f} [{blamed['low']:.3f}, {blamed['high']:.3f}]"
        rows.append((TITLES[name], runs, *cells, f"{alarms}, {inside}", events, silent))
    head = ("detector", "normal runs", "1% promised", "0.1% promised")
    return TextTable(
        "False alarms in unseen normal running, in % of rows, with 90% intervals over the runs",
        (
            *head,
            "alarms a day at the default budget",
            "sensors blamed a day",
            "1% promised, channels missing",
        ),
        tuple(rows),
    )


def _attribution(summary: Results) -> TextTable:
    rows = [
        (
            TITLES[name],
            kind,
            str(found["tried"]),
            _share(found["found"] / found["tried"]),
            _share(found["first_hits"] / found["tried"]),
            _share(found["three_hits"] / found["tried"]),
            _share(found["first_hits"] / found["found"]) if found["found"] else "-",
        )
        for name, full in _sized(summary, "full")
        for kind, found in full["injected"].items()
        if found["tried"]
    ]
    return TextTable(
        "Attribution of injected faults, in % of those tried; one not found is no hit",
        ("detector", "kind", "tried", "found", "hit@1", "hit@3", "hit@1 of found"),
        tuple(rows),
    )


def _sized(summary: Results, size: str) -> list[tuple[ReconstructorName, Results]]:
    return [(name, summary[name][size]) for name in TITLES if size in summary.get(name, {})]


def _percent(figure: Results) -> str:
    mean = f"{100 * figure['mean']:.1f}"
    return mean if figure["spread"] is None else f"{mean} ± {100 * figure['spread']:.1f}"


def _share(value: float) -> str:
    return f"{100 * value:.2f}"
