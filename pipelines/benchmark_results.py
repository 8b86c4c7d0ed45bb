"""Results of a benchmark as one JSON-able mapping, and as tables for the terminal.

Keys of the mapping: ``data_set``, ``title``, ``protocol`` (a sentence or two), ``version`` of the
software, ``git_revision``, ``seeds``, ``far`` (share of normal running that thresholds are set
for), ``methods`` and ``comparisons``.

Each of ``methods`` has ``name``, ``title``, ``is_product``, ``mean`` (figures over the seeds) and
``per_seed``: ``seed``, ``figures``, ``parts`` (F1 of each run, or detection rate of each fault),
``seconds`` and ``refused`` (why it would not learn from some case). A method that no seed changes
has one entry. `pipelines.benchmark_figures.make_figures` says what the figures are; null = there is
none, or, of a delay, that half of the faults were not found.

Each of ``comparisons`` has ``product``, ``rival``, ``figure``, ``difference`` (product less
rival), ``low`` and ``high`` (90% interval of a paired bootstrap; null with a single run).
"""

from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from math import isfinite
from typing import Any

from rich.table import Table

from pipelines.benchmark_data import BenchmarkData, BenchmarkName
from pipelines.benchmark_figures import (
    Comparison,
    Outcome,
    compare,
    make_figures,
    mean_figures,
    part_figures,
)
from pipelines.benchmark_methods import FAR, Line
from pipelines.candidate import git_revision

Results = dict[str, Any]
"""What goes to the JSON file."""
ByLine = Mapping[Line, Sequence[Outcome]]
"""Outcomes of each line, one a seed."""
Words = Callable[[float], str]


def make_results(data: BenchmarkData, outcomes: ByLine, seeds: int) -> Results:
    """All results of a run."""
    return {
        "data_set": data.name,
        "title": data.title,
        "protocol": data.protocol,
        "version": version("faultwatch"),
        "git_revision": git_revision(),
        "seeds": list(range(seeds)),
        "far": FAR,
        "methods": [_method(data.name, line, of_line) for line, of_line in outcomes.items()],
        "comparisons": [_comparison(one) for one in _comparisons(data.name, outcomes)],
    }


def _method(name: BenchmarkName, line: Line, outcomes: Sequence[Outcome]) -> Results:
    figures = [make_figures(name, outcome) for outcome in outcomes]
    return {
        "name": line.name,
        "title": line.title,
        "is_product": line.is_product,
        "mean": plain_figures(mean_figures([one for one in figures if one])),
        "per_seed": [
            {
                "seed": outcome.seed,
                "figures": plain_figures(one),
                "parts": plain_figures(part_figures(name, outcome)),
                "seconds": round(outcome.seconds, 2),
                "refused": list(outcome.refused),
            }
            for outcome, one in zip(outcomes, figures, strict=True)
        ],
    }


def _comparisons(name: BenchmarkName, outcomes: ByLine) -> list[Comparison]:
    return [
        comparison
        for product in outcomes
        for rival in outcomes
        if product.is_product and not rival.is_product
        for comparison in compare(name, outcomes[product], outcomes[rival])
    ]


def _comparison(one: Comparison) -> Results:
    found = {"difference": one.difference.value, "low": one.difference.low}
    numbers = plain_figures({**found, "high": one.difference.high})
    return {
        "product": one.product.name,
        "rival": one.rival.name,
        "figure": one.figure,
        **numbers,
    }


def plain_figures(figures: Mapping[str, float]) -> dict[str, float | None]:
    """Figures as JSON takes them: null for what is not finite."""
    return {name: value if isfinite(value) else None for name, value in figures.items()}


def _number(value: float) -> str:
    return f"{value:.3f}"


def _percent(value: float) -> str:
    return f"{100 * value:.1f}%"


def _minutes(value: float) -> str:
    return f"{value / 60:.0f} min"


COLUMNS: dict[BenchmarkName, dict[str, tuple[str, Words]]] = {
    "skab": {
        "f1": ("F1", _number),
        "far": ("FAR", _percent),
        "mar": ("MAR", _percent),
        "auc": ("AUC", _number),
    },
    "tep": {
        "fdr": ("FDR", _percent),
        "fdr_without_3_9_15": ("FDR without 3, 9, 15", _percent),
        "far": ("FAR", _percent),
        "found": ("faults found", _percent),
        "delay_s": ("median delay", _minutes),
        "fdr_at_far_1": ("FDR if FAR were 1%", _percent),
        "fdr_without_3_9_15_at_far_1": ("without 3, 9, 15", _percent),
        "fdr_at_far_5": ("FDR if FAR were 5%", _percent),
        "fdr_without_3_9_15_at_far_5": ("without 3, 9, 15", _percent),
    },
}
"""Figures in the table: title, and how a value is written."""
NOTES: dict[BenchmarkName, str] = {
    "skab": "FAR and MAR: share of normal rows alarmed, of faulty rows not alarmed.",
    "tep": (
        "FDR, FAR: share of faulty rows, of unseen normal rows alarmed. Found: three anomalous "
        "rows in a row; the delay counts faults not found as infinite. "
        '"If FAR were": thresholds moved with the help of the unseen normal runs, which nobody has '
        "beforehand; for comparison only."
    ),
}
"""What stands under the table."""


def figure_table(results: Results) -> Table:
    """Figures of every method, the mean first, then each seed."""
    columns = COLUMNS[results["data_set"]]
    table = Table(title=results["title"], title_justify="left")
    table.add_column("method", no_wrap=True)
    for title, _ in (*columns.values(), ("s", None)):
        table.add_column(title, justify="right")
    for method in results["methods"]:
        seconds = [one["seconds"] for one in method["per_seed"]]
        mean = sum(seconds) / len(seconds)
        table.add_row(method["title"], *_cells(columns, method["mean"]), f"{mean:.0f}")
        if len(seconds) > 1:
            for one in method["per_seed"]:
                cells = _cells(columns, one["figures"])
                table.add_row(f"  seed {one['seed']}", *cells, f"{one['seconds']:.0f}", style="dim")
    return table


def _cells(
    columns: Mapping[str, tuple[str, Words]], figures: Mapping[str, float | None]
) -> list[str]:
    values = [(figures.get(name), words) for name, (_, words) in columns.items()]
    return ["-" if value is None else words(value) for value, words in values]


def comparison_table(results: Results) -> Table:
    """Product minus rival, in points of 100, with the 90% intervals."""
    units = "runs" if results["data_set"] == "skab" else "faults, and over normal runs"
    table = Table(
        title=f"Product minus rival, in points, with 90% intervals (paired bootstrap over {units})",
        title_justify="left",
    )
    found = results["comparisons"]
    pairs = list(dict.fromkeys((one["product"], one["figure"]) for one in found))
    titles = {method["name"]: method["title"] for method in results["methods"]}
    names = {key: title for key, (title, _) in COLUMNS[results["data_set"]].items()}
    table.add_column("rival", no_wrap=True)
    for product, figure in pairs:
        table.add_column(f"{titles[product]}: {names[figure]}", justify="right")
    for rival in dict.fromkeys(one["rival"] for one in found):
        cells = {
            (one["product"], one["figure"]): _points(one) for one in found if one["rival"] == rival
        }
        table.add_row(titles[rival], *(cells[pair] for pair in pairs if pair in cells))
    return table


def _points(comparison: Results) -> str:
    difference = f"{100 * comparison['difference']:+.1f}"
    if comparison["low"] is None:
        return difference
    return f"{difference} [{100 * comparison['low']:+.1f}, {100 * comparison['high']:+.1f}]"
