"""A public data set, the product's autoencoder beside its rivals, in one run."""

import json
import time
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray
from rich.console import Console
from rich.markup import escape

from pipelines.benchmark_data import BenchmarkData, BenchmarkName, load_benchmark
from pipelines.benchmark_figures import Outcome
from pipelines.benchmark_methods import (
    JudgedRun,
    Line,
    Method,
    TryDetector,
    judge_case,
    make_methods,
)
from pipelines.benchmark_results import (
    COLUMNS,
    NOTES,
    Results,
    comparison_table,
    figure_table,
    make_results,
)
from pipelines.progress import Advance, shown_steps
from pipelines.report import draw_bars, draw_shares
from pipelines.settings import Settings
from pipelines.terminal import standard_output
from pipelines.tracking import Runs

PARTS: dict[BenchmarkName, str] = {
    "skab": "F1 of each run, first seed",
    "tep": "Detection rate of each fault, first seed",
}


class BenchmarkError(Exception):
    """Options that make no benchmark; the message says what to do."""


def run_benchmark(
    name: BenchmarkName,
    settings: Settings,
    *,
    data: Path | None,
    seeds: int,
    out: Path | None,
    try_detector: TryDetector,
    console: Console | None = None,
) -> Results:
    """Fit and judge every method, show and keep the results.

    Args:
        name: ``tep`` or ``skab``.
        settings: where MLflow lives; the experiment is ``benchmark_tep`` or ``benchmark_skab``.
        data: folder of the data set; None = the plant that comes with Faultwatch.
        seeds: how many seeds the methods that have one are repeated with.
        out: JSON file of the results; None = none.
        try_detector: the product's path.
        console: where tables and progress go.

    Raises:
        BenchmarkError: an option makes no sense.
        features.datasets.errors.DatasetError: the folder does not hold the data set.
    """
    if seeds < 1:
        raise BenchmarkError(f"--seeds is {seeds}; at least 1 is needed")
    if out is not None:
        check_out(out)
    console = console or standard_output()
    loaded = load_benchmark(name, data)
    methods = make_methods(loaded, try_detector)
    with shown_steps(console, _steps(loaded, methods, seeds)) as advance:
        outcomes = _run_methods(loaded, methods, seeds, advance)
    results = make_results(loaded, outcomes, seeds)
    _show(results, console)
    if out is not None:
        out.write_text(json.dumps(results, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    _log(results, settings)
    return results


def check_out(out: Path) -> None:
    """Refuse a file of results that cannot be written, before anything long begins."""
    if out.is_dir() or not out.parent.is_dir():
        raise BenchmarkError(
            f"--out '{out}' cannot be written; name a file in a folder that exists"
        )


def _seeds_of(method: Method, seeds: int) -> int:
    return seeds if method.is_seeded else 1


def _steps(data: BenchmarkData, methods: tuple[Method, ...], seeds: int) -> int:
    return len(data.cases) * sum(_seeds_of(method, seeds) for method in methods)


def _run_methods(
    data: BenchmarkData, methods: tuple[Method, ...], seeds: int, advance: Advance
) -> dict[Line, list[Outcome]]:
    outcomes: dict[Line, list[Outcome]] = {}
    for method in methods:
        for seed in range(_seeds_of(method, seeds)):
            for outcome in _run_method(data, method, seed, advance):
                outcomes.setdefault(outcome.line, []).append(outcome)
    return outcomes


def _run_method(data: BenchmarkData, method: Method, seed: int, advance: Advance) -> list[Outcome]:
    """All cases by one method with one seed; an outcome a line."""
    judged: list[list[JudgedRun]] = [[] for _ in method.lines]
    refused: list[str] = []
    began = time.perf_counter()
    for case in data.cases:
        advance(f"{method.lines[0].title}, seed {seed}, {case.name}")
        of_case, refusal = judge_case(method, data, case, seed)
        refused += [refusal] if refusal else []
        judged = [kept + found for kept, found in zip(judged, of_case, strict=True)]
    seconds = time.perf_counter() - began
    has_scores = len(refused) < len(data.cases)
    return [
        Outcome(line, seed, tuple(of_line), tuple(refused), seconds, has_scores)
        for line, of_line in zip(method.lines, judged, strict=True)
    ]


def _show(results: Results, console: Console) -> None:
    console.print(figure_table(results))
    console.print(escape(NOTES[results["data_set"]]), soft_wrap=True)
    for method in results["methods"]:
        for sentence in dict.fromkeys(
            sentence for one in method["per_seed"] for sentence in one["refused"]
        ):
            console.print(escape(f"{method['title']} learned nothing, {sentence}"), soft_wrap=True)
    console.print(comparison_table(results))
    console.print(escape(results["protocol"]), soft_wrap=True)


def _log(results: Results, settings: Settings) -> None:
    """Keep figures, tables and pictures in MLflow."""
    data_set, methods = results["data_set"], results["methods"]
    titles = [method["title"] for method in methods]
    product = [method["is_product"] for method in methods]
    parts = list(dict.fromkeys(part for method in methods for part in _parts(method)))
    runs = Runs(settings, f"benchmark_{data_set}")
    name = f"{results['title']}, {len(results['seeds'])} seed(s)"
    tags = {"git_revision": results["git_revision"], "version": results["version"]}
    with runs.start(name, tags):
        runs.log_parameters({key: results[key] for key in ("data_set", "seeds", "far")})
        runs.log_results(
            metrics={
                f"{method['name']}.{figure}": value
                for method in methods
                for figure, value in method["mean"].items()
                if value is not None
            },
            figures={
                "figures": draw_bars(titles, _bars(results), marked=product),
                "parts": draw_shares(titles, parts, _shares(methods, parts), title=PARTS[data_set]),
            },
            tables=_tables(results),
            note=f"**{results['title']}**\n\n{results['protocol']}\n\n{NOTES[results['data_set']]}",
        )


def _tables(results: Results) -> dict[str, pl.DataFrame]:
    rows = [
        {"method": method["name"], "seed": one["seed"], "seconds": one["seconds"]} | one["figures"]
        for method in results["methods"]
        for one in method["per_seed"]
    ]
    tables = {"figures": rows, "comparisons": results["comparisons"]}
    return {
        name: pl.DataFrame(rows, infer_schema_length=None) for name, rows in tables.items() if rows
    }


def _bars(results: Results) -> dict[str, list[float]]:
    """The first three figures of every method, for the picture."""
    shown = list(COLUMNS[results["data_set"]].items())[:3]
    return {
        title: [_or_nan(method["mean"].get(name)) for method in results["methods"]]
        for name, (title, _) in shown
    }


def _shares(methods: list[Results], parts: list[str]) -> NDArray[np.float64]:
    """Value of each run or fault, (method, part)."""
    return np.array([[_or_nan(_parts(method).get(part)) for part in parts] for method in methods])


def _parts(method: Results) -> dict[str, float | None]:
    parts: dict[str, float | None] = method["per_seed"][0]["parts"]
    return parts


def _or_nan(value: float | None) -> float:
    return np.nan if value is None else value
