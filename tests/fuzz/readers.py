"""Fuzzing of the readers: dirty files made dirtier at random, for as long as one likes.

``python tests/fuzz/readers.py [--seconds 600] [--seed N]``: the inputs of ``tests/cases/ingest``
are mutated, with their asset files, and read by a process that is watched. Whatever is not one of
the expected errors with a sentence, or breaks a rule of the historian, hangs or takes too much
memory, is kept in a folder, from which it can become a case; ``--again FOLDER`` reads it once more.
"""

import argparse
import gzip
import io
import json
import random
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

CASES = Path(__file__).parents[1] / "cases" / "ingest"
LONGEST_S = 20.0
MOST_MB = 1_500.0
MOST_FAILURES = 20
LONGEST_FILE = 300_000
RAW = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff", b"\x1f\x8b\x08", b"\xff", b"\xc3\x28", b"PAR1")
WORDS = tomllib.loads(Path(__file__).with_name("words.toml").read_text(encoding="utf-8"))
OPTIONS: dict[str, list[Any]] = WORDS["options"]
TOKENS: list[str] = [
    *WORDS["times"],
    *WORDS["words"],
    *(word * count for word, count in WORDS["long_words"].items()),
]
Files = dict[str, bytes]


@dataclass(frozen=True)
class Case:
    """An asset file and the files it is about, in the order in which they come."""

    asset: dict[str, Any]
    steps: list[Files]


def load_cases() -> list[Case]:
    """What the case folders hold."""
    folders = sorted(path for path in CASES.iterdir() if (path / "asset.toml").exists())
    return [load_case(folder) for folder in folders]


def load_case(folder: Path) -> Case:
    asset = tomllib.loads((folder / "asset.toml").read_text(encoding="utf-8"))
    steps = sorted(folder.glob("step_*")) or [folder / "data"]
    return Case(asset, [load_files(step) for step in steps])


def load_files(folder: Path) -> Files:
    """Files of a folder, and those that its recipe makes."""
    found = {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    recipe = tomllib.loads(found.pop("make.toml", b"").decode())
    return found | {file["name"]: make_file(file) for file in recipe.get("file", [])}


def make_file(file: dict[str, Any]) -> bytes:
    if "columns" in file:
        buffer = io.BytesIO()
        pl.DataFrame(file["columns"]).write_parquet(buffer)
        return buffer.getvalue()
    data: bytes = file["text"].encode(file.get("encoding", "utf-8"))
    return (gzip.compress(data, mtime=0) if file.get("gzip") else data)[: file.get("keep")]


class Mutator:
    """Random changes of bytes and options; the same of the same seed."""

    def __init__(self, seed: str, cases: list[Case]) -> None:
        self.random = random.Random(seed)  # noqa: S311 - repeatable, not secret
        self.cases = cases
        self.changes: tuple[Callable[[bytes], bytes], ...] = (
            *(self.flip, self.insert, self.insert, self.remove, self.cut),
            *(self.copy_lines, self.copy_lines, self.swap_lines, self.splice),
            *(self.put_field, self.put_field, self.put_field, self.put_field),
            *(self.repeat, self.recode, self.ends, self.zip),
        )

    def make(self) -> tuple[dict[str, Any], list[Files]]:
        """An asset file and one to three states of its files."""
        case = self.random.choice(self.cases)
        asset: dict[str, Any] = json.loads(json.dumps(case.asset, default=str))
        for _ in range(self.random.choice((0, 0, 0, 1, 1, 2, 4))):
            option = self.random.choice(tuple(OPTIONS))
            asset["source"][option] = self.random.choice(OPTIONS[option])
        steps = [dict(step) for step in case.steps]
        steps[0] = {self.name(name): self.mutate(data) for name, data in steps[0].items()}
        for _ in range(self.random.choice((0, 0, 1, 2))):
            steps.append({name: self.grow(data) for name, data in steps[-1].items()})
        return asset, steps

    def name(self, name: str) -> str:
        return self.random.choice(WORDS["names"]) if self.random.random() < 0.05 else name

    def mutate(self, data: bytes) -> bytes:
        for _ in range(self.random.choice((0, 1, 1, 2, 3, 5, 8))):
            data = self.random.choice(self.changes)(data)[:LONGEST_FILE]
        return data

    def grow(self, data: bytes) -> bytes:
        """More lines at the end, or another file."""
        if self.random.random() < 0.3:
            return self.mutate(data)
        lines = data.splitlines(keepends=True)[1:]
        return data + self.mutate(b"".join(lines[-self.random.randint(1, 5) :]))

    def place(self, data: bytes) -> int:
        return self.random.randint(0, len(data))

    def token(self) -> bytes:
        return self.random.choice((self.random.choice(TOKENS).encode(), self.random.choice(RAW)))

    def flip(self, data: bytes) -> bytes:
        place = self.place(data)
        return data[:place] + self.random.randbytes(1) + data[place + 1 :]

    def insert(self, data: bytes) -> bytes:
        place = self.place(data)
        return data[:place] + self.token() + data[place:]

    def remove(self, data: bytes) -> bytes:
        place = self.place(data)
        return data[:place] + data[place + self.random.choice((1, 1, 2, 10, 100)) :]

    def cut(self, data: bytes) -> bytes:
        return data[: self.place(data)]

    def copy_lines(self, data: bytes) -> bytes:
        lines = data.splitlines(keepends=True) or [b""]
        first = self.random.randrange(len(lines))
        block = lines[first : first + self.random.randint(1, 4)]
        place = self.random.randint(0, len(lines))
        return b"".join([*lines[:place], *block, *lines[place:]])

    def swap_lines(self, data: bytes) -> bytes:
        lines = data.splitlines(keepends=True)
        self.random.shuffle(lines)
        return b"".join(lines)

    def splice(self, data: bytes) -> bytes:
        files = self.random.choice(self.random.choice(self.cases).steps)
        other = self.random.choice([*files.values(), b""])
        return data[: self.place(data)] + other[self.place(other) :]

    def put_field(self, data: bytes) -> bytes:
        """Another text in the place of a field."""
        marks = [place for place, byte in enumerate(data[:20_000]) if byte in b",;\t\r\n"]
        if len(marks) < 2:
            return data + self.token()
        which = self.random.randrange(len(marks) - 1)
        return data[: marks[which] + 1] + self.token() + data[marks[which + 1] :]

    def repeat(self, data: bytes) -> bytes:
        """Many lines, or one very long."""
        place, times = self.place(data), self.random.choice((2, 20, 2_000))
        part = data[place : place + self.random.choice((1, 3, 30))]
        return data[:place] + part * times + data[place:]

    def recode(self, data: bytes) -> bytes:
        return data.decode("utf-8", "replace").encode(
            self.random.choice(("utf-16", "utf-16-le", "utf-8-sig", "cp1252", "utf-32")), "replace"
        )

    def ends(self, data: bytes) -> bytes:
        return data.replace(b"\n", self.random.choice((b"\r\n", b"\r", b"\n\n", b"\n\r", b"")))

    def zip(self, data: bytes) -> bytes:
        zipped = gzip.compress(data, mtime=0)
        return self.random.choice((zipped, zipped + zipped, zipped + b"x", zipped[:-4]))


def toml_text(asset: dict[str, Any]) -> str:
    """An asset file; JSON writes strings, numbers and lists as TOML reads them."""
    lines: list[str] = []
    for section, found in asset.items():
        header = f"[[{section}]]" if isinstance(found, list) else f"[{section}]"
        for table in found if isinstance(found, list) else [found]:
            options = (f"{name} = {json.dumps(value)}" for name, value in table.items())
            lines += [header, *options, ""]
    return "\n".join(lines)


def write_input(folder: Path, asset: dict[str, Any], steps: list[Files]) -> None:
    """Lay an input out as a case folder."""
    folder.mkdir()
    (folder / "asset.toml").write_text(toml_text(asset), encoding="utf-8")
    for number, files in enumerate(steps, start=1):
        for name, data in files.items():
            path = folder / f"step_{number}" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)


class Reader:
    """The process that reads, started again when it died."""

    def __init__(self, errors: Path) -> None:
        self._errors = errors
        self._child: subprocess.Popen[str] | None = None

    def read(self, request: dict[str, object]) -> tuple[str, list[str]]:
        """What was wrong with an input, empty = nothing; and what became of it."""
        child = self.start()
        assert child.stdin
        assert child.stdout
        child.stdin.write(json.dumps(request) + "\n")
        child.stdin.flush()
        ready, _, _ = select.select([child.stdout], [], [], LONGEST_S)
        if not ready:
            child.send_signal(signal.SIGABRT)
        if not (line := child.stdout.readline()):
            self.end()
            how = "died" if ready else f"took more than {LONGEST_S:g} s"
            return f"the process {how}\n{self._said()}", []
        answer = json.loads(line)
        if not answer["problem"] and answer["peak_mb"] > MOST_MB:
            self.end()
            return f"the process took {answer['peak_mb']:.0f} MB", []
        return answer["problem"], answer["outcomes"]

    def end(self) -> None:
        """Let the process end."""
        if self._child is not None:
            self._child.communicate()
            self._child = None

    def start(self) -> subprocess.Popen[str]:
        """The process, which has imported all that it needs."""
        if self._child is None:
            script = Path(__file__).with_name("reader_process.py")
            with self._errors.open("wb") as errors:
                self._child = subprocess.Popen(  # noqa: S603 - our own script
                    [sys.executable, str(script)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    text=True,
                )
            assert self._child.stdout
            self._child.stdout.readline()
        return self._child

    def _said(self) -> str:
        """What the process left on standard error; polars says there that it panics."""
        lines = self._errors.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(lines[-60:])


@dataclass
class Fuzzing:
    """Inputs of one seed, one after the other."""

    seed: int
    scratch: Path
    failures: Path
    outcomes: Counter[str]

    def run(self, seconds: float) -> tuple[int, int]:
        """How many inputs were read, and with how many something was wrong."""
        cases, done, failed = load_cases(), 0, 0
        reader = Reader(self.scratch / "errors.txt")
        reader.start()
        until = time.monotonic() + seconds
        while time.monotonic() < until and failed < MOST_FAILURES:
            failed += self._try(done, cases, reader)
            done += 1
        reader.end()
        return done, failed

    def _try(self, number: int, cases: list[Case], reader: Reader) -> bool:
        mutator = Mutator(f"{self.seed}.{number}", cases)
        folder = self.scratch / str(number)
        write_input(folder, *mutator.make())
        chances = {"ingest": 0.4, "init": 0.2}
        tried = {what: mutator.random.random() < chance for what, chance in chances.items()}
        problem, outcomes = reader.read({"folder": str(folder), **tried})
        self.outcomes.update(outcomes)
        if problem:
            kept = self.failures / f"{self.seed}.{number}"
            shutil.copytree(folder, kept, dirs_exist_ok=True)
            (kept / "problem.txt").write_text(problem, encoding="utf-8")
            sys.stdout.write(f"\nseed {self.seed}, input {number}, kept in {kept}:\n{problem}\n")
        shutil.rmtree(folder)
        return bool(problem)


def read_again(kept: Path, scratch: Path) -> int:
    """One input that was kept, with all that can be tried."""
    folder = shutil.copytree(kept, scratch / "again")
    reader = Reader(scratch / "errors.txt")
    problem, outcomes = reader.read({"folder": str(folder), "ingest": True, "init": True})
    reader.end()
    sys.stdout.write("\n".join([*outcomes, problem or "all is as it must be", ""]))
    return int(bool(problem))


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--seed", type=int, help="default: another one each time")
    parser.add_argument("--again", type=Path, metavar="FOLDER", help="read one input that was kept")
    parser.add_argument("--failures", type=Path, default=Path("build/fuzz"), help="folder")
    parser.add_argument("--outcomes", action="store_true", help="list the sentences that came")
    chosen = parser.parse_args(arguments)
    seed = random.SystemRandom().randrange(10**9) if chosen.seed is None else chosen.seed
    with tempfile.TemporaryDirectory() as scratch:
        if chosen.again is not None:
            return read_again(chosen.again, Path(scratch))
        fuzzing = Fuzzing(seed, Path(scratch), chosen.failures, Counter())
        done, failed = fuzzing.run(chosen.seconds)
    if chosen.outcomes:
        for sentence, count in fuzzing.outcomes.most_common():
            sys.stdout.write(f"{count:7} {sentence}\n")
    sys.stdout.write(f"seed {seed}: {done} inputs read, {failed} of them not as they must be\n")
    return int(failed > 0 or not done)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
