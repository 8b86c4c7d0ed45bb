"""Rows a second and peak memory of the ingest, beside a plain polars copy in the same run.

``python tests/benchmarks/ingest.py [--rows N] [--layouts wide long]``: files of N and 2 N rows of
20 channels are made in a scratch folder, and removed. The copy and the ingest take turns, each in a
process of its own. Writes ``results/ingest.json``. With ``--command`` a file of so many gigabytes
goes through `faultwatch init` and `faultwatch ingest`, and nothing else is done.
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from statistics import median

RESULT = Path(__file__).parent / "results" / "ingest.json"
LAYOUTS = ("wide", "long")
BYTES_A_ROW = {"wide": 182, "long": 46}
"""Of a file: what must be free on the disk, beside as much for the copy and the historian."""
Found = dict[str, float]


def run_fresh(what: str, layout: str, rows: int, file: Path, folder: Path) -> Found:
    """What a fresh process measures about itself; what it wrote is removed."""
    script = Path(__file__).with_name("ingest_process.py")
    out = folder / "out"
    out.mkdir()
    command = [sys.executable, str(script), what, layout, str(rows), str(file), str(out)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)  # noqa: S603 - our own script
    shutil.rmtree(out)
    found: Found = json.loads(done.stdout)
    sys.stdout.write(
        f"{layout:5} {rows:>11,} rows  {what:7}{found['seconds']:8.1f} s"
        f"{rows / found['seconds']:12,.0f} rows/s{found['peak_mb']:8.0f} MB\n"
    )
    sys.stdout.flush()
    return found


def measure(layout: str, rows: int, pairs: int, folder: Path) -> dict[str, object]:
    """Pairs of copy and ingest of so many rows, and one ingest of twice as many."""
    file = folder / f"{layout}.csv"
    run_fresh("make", layout, rows, file, folder)
    megabytes = file.stat().st_size / 1e6
    taken = [
        {what: run_fresh(what, layout, rows, file, folder) for what in ("polars", "ingest")}
        for _ in range(pairs)
    ]
    run_fresh("make", layout, 2 * rows, file, folder)
    twice = run_fresh("ingest", layout, 2 * rows, file, folder)
    file.unlink()
    peak = max(pair["ingest"]["peak_mb"] for pair in taken)
    speeds = [pair["polars"]["seconds"] / pair["ingest"]["seconds"] for pair in taken]
    return {
        "rows": rows,
        "file_mb": megabytes,
        "pairs": taken,
        "twice_the_rows": twice,
        "ingest_rows_a_second": median(rows / pair["ingest"]["seconds"] for pair in taken),
        "polars_rows_a_second": median(rows / pair["polars"]["seconds"] for pair in taken),
        "share_of_polars": {"each": speeds, "median": median(speeds)},
        "peak_mb": {"once": peak, "twice": twice["peak_mb"], "ratio": twice["peak_mb"] / peak},
    }


def machine() -> dict[str, object]:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "processor": platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(memory / 2**30, 1),
        "system": platform.system(),
        "python": platform.python_version(),
        **{name: version(name) for name in ("polars", "deltalake")},
    }


def check_disk(folder: Path, size: float) -> None:
    """Leave off before a disk that others use is full."""
    free = shutil.disk_usage(folder).free
    if free < size:
        sys.exit(f"{size / 1e9:.1f} GB are needed and {free / 1e9:.1f} are free; give --folder")


def table(found: dict[str, dict[str, dict[str, float]]], rows: int) -> str:
    titles = (
        f"{'':7}{'rows/s':>10}{'polars':>12}{'share':>8}{'peak MB':>10}{'twice':>9}{'ratio':>8}"
    )
    lines = [f"{rows:,} and {2 * rows:,} rows of 20 channels", titles]
    for layout, one in found.items():
        peak, share = one["peak_mb"], one["share_of_polars"]["median"]
        lines.append(
            f"{layout:7}{one['ingest_rows_a_second']:10,.0f}{one['polars_rows_a_second']:12,.0f}"
            f"{share:8.2f}{peak['once']:10.0f}{peak['twice']:9.0f}{peak['ratio']:8.2f}"
        )
    return "\n".join(lines)


def run_command(*words: str, home: Path) -> tuple[Found, str]:
    """Seconds and peak memory of a command of ours, and what it printed."""
    program = Path(sys.executable).with_name("faultwatch")
    printed = home / "printed.txt"
    began = time.perf_counter()
    with printed.open("wb") as out:
        child = subprocess.Popen(  # noqa: S603 - our own command
            [program, *words], stdout=out, env={**os.environ, "FAULTWATCH_HOME": str(home)}
        )
        _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    text = printed.read_text(encoding="utf-8")
    if child.returncode:
        sys.exit(f"faultwatch {' '.join(words)} ended with {child.returncode}: {text}")
    found = {"seconds": time.perf_counter() - began, "peak_mb": usage.ru_maxrss / 1024}
    sys.stdout.write(f"{text}\n{words[0]}: {found['seconds']:.1f} s, {found['peak_mb']:.0f} MB\n")
    return found, text


def measure_command(gigabytes: float, folder: Path) -> None:
    """A wide file of that size through the commands, with no option but its path."""
    rows = round(gigabytes * 1e9 / (BYTES_A_ROW["wide"] - 1) / 1e5) * 100_000
    file = folder / "plant.csv"
    run_fresh("make", "wide", rows, file, folder)
    sys.stdout.write(f"{file.stat().st_size / 1e9:.2f} GB\n")
    asset = folder / "plant.toml"
    run_command("init", str(file), "--time", "time", "--out", str(asset), home=folder)
    run_command("ingest", str(asset), home=folder)


def options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000, help="of the smaller file")
    parser.add_argument("--pairs", type=int, default=3, help="turns of copy and ingest")
    parser.add_argument("--layouts", nargs="+", choices=LAYOUTS, default=LAYOUTS)
    parser.add_argument("--folder", type=Path, help="in which the scratch folder is made")
    parser.add_argument("--command", type=float, metavar="GB", help="init and ingest such a file")
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> None:
    chosen = options(arguments)
    with tempfile.TemporaryDirectory(dir=chosen.folder) as scratch:
        folder = Path(scratch)
        if chosen.command:
            check_disk(folder, 2.5e9 * chosen.command)
            measure_command(chosen.command, folder)
            return
        check_disk(folder, 5 * chosen.rows * max(BYTES_A_ROW[one] for one in chosen.layouts))
        found = {
            layout: measure(layout, chosen.rows, chosen.pairs, folder) for layout in chosen.layouts
        }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(
        json.dumps({"machine": machine(), **found}, indent=2) + "\n", encoding="utf-8"
    )
    sys.stdout.write(f"\n{table(found, chosen.rows)}\n\nWrote {RESULT}\n")  # type: ignore[arg-type]


if __name__ == "__main__":
    main(sys.argv[1:])
