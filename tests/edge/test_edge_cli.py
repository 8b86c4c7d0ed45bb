"""The program as a person or a service starts it: processes, files, pipes and signals."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from faultwatch_edge.bundle import Bundle
from faultwatch_edge.describe import describe

PACKAGE_PARENT = Path(__file__).parents[2] / "deploy/edge"
FRAMEWORKS = ("torch", "polars", "pydantic", "mlflow", "prefect", "onnx")
HEADER = "time,FT-101,valve,total"


def line(second: int, flow: float = 10.0) -> str:
    return f"2026-01-01T00:{second // 60:02d}:{second % 60:02d}Z,{flow},1,{5 * second}"


LINES = [line(second, 18.0 if 20 <= second < 40 else 10.0) for second in range(1, 61)]


@dataclass(frozen=True)
class Program:
    """``faultwatch-edge`` with a bundle, its key and nothing of the developer's environment."""

    bundle: Path
    key: Path
    folder: Path
    environment: dict[str, str] = field(default_factory=dict)

    def command(self, verb: str, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "faultwatch_edge", verb, str(self.bundle), *arguments]

    def environ(self) -> dict[str, str]:
        home = {"HOME": str(self.folder), "PYTHONPATH": str(PACKAGE_PARENT)}
        return {"PATH": os.environ["PATH"], **home, **self.environment}

    def run(
        self, verb: str, *arguments: str, text: str = "", trust: bool = True
    ) -> "subprocess.CompletedProcess[str]":
        keys = ["--key", str(self.key)] if trust else []
        return subprocess.run(  # noqa: S603 - our own program
            self.command(verb, *arguments, *keys),
            input=text,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            cwd=self.folder,
            env=self.environ(),
        )

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(  # noqa: S603 - our own program
            self.command("run", *arguments, "--key", str(self.key)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            bufsize=1,
            cwd=self.folder,
            env=self.environ(),
        )


@pytest.fixture
def program(bundle_path: Path, key_folder: Path, tmp_path: Path) -> Program:
    return Program(bundle_path, key_folder / "faultwatch.pub", tmp_path)


@pytest.fixture
def csv_file(tmp_path: Path) -> Path:
    path = tmp_path / "pump.csv"
    path.write_text("\n".join([HEADER, *LINES, "what?", line(1)]) + "\n")
    return path


@pytest.fixture
def live(program: Program) -> Iterator["subprocess.Popen[str]"]:
    """A run on a pipe; killed, should a test hang on it."""
    process = program.start("--source", "-")
    timer = threading.Timer(30, process.kill)
    timer.start()
    with process:
        yield process
        process.kill()
    timer.cancel()


def parsed(lines: str | Sequence[str]) -> list[dict[str, object]]:
    return [json.loads(one) for one in (lines.splitlines() if isinstance(lines, str) else lines)]


def test_check_says_what_was_checked_and_what_is_in_the_bundle(
    program: Program, bundle: Bundle
) -> None:
    done = program.run("check")
    assert (done.returncode, done.stderr) == (0, "")
    for word in ("signature", "checksums", "contract", "graph", "golden", "threshold  score 3"):
        assert f"\n{word}" in f"\n{done.stdout}"
    assert f"sha256 {bundle.sha256}" in done.stdout
    assert (
        "budget     0.1 false alarms a day; expected 0.08 (90 % interval 0.02 to 0.2)"
        in done.stdout
    )
    assert (
        "certified  bias found within 20 s in 2 of 2 channels, the smallest at 3.4 sd in the median"
        " (2.8 to 4)" in done.stdout
    )


def test_describing_says_what_is_not_certified(bundle: Bundle) -> None:
    assert bundle.certificate is not None
    none = tuple(one for one in bundle.certificate.limits if one.size is None)
    blind = replace(none[0], kind="bias")
    for certificate, said in (
        (None, "certified  nothing: the bundle has no certificate.json"),
        (
            replace(bundle.certificate, limits=(blind,), within_s=7200.0),
            "certified  no bias up to 16 sd found within 2 h in any of 1 channels",
        ),
    ):
        assert describe(replace(bundle, certificate=certificate))[-1] == said


def test_file_is_replayed_and_summed_up(program: Program, csv_file: Path) -> None:
    done = program.run("run", "--source", str(csv_file), "--scores", "scores.jsonl")
    assert done.returncode == 0
    messages = parsed(done.stdout)
    kinds = [message["kind"] for message in messages]
    assert kinds == ["event", "alarm", "event", "alarm", "rejected", "rejected"]
    assert all(message.get("is_historical", True) for message in messages)
    assert [message["line"] for message in messages[-2:]] == [62, 63]
    assert done.stderr == (
        "faultwatch-edge: pump_07: 60 samples, 60 cells, 28 windows scored, 1 not scored, 1 late, "
        "1 rejected, 0 duplicate values, 1 alarms raised\n"
    )
    scores = parsed((program.folder / "scores.jsonl").read_text())
    assert len(scores) == 29
    assert scores[0] == {
        "time": "2026-01-01T00:00:04Z",
        "score": None,
        "anomalous": None,
        "gate": False,
        "state": "normal",
    }
    assert [row["anomalous"] for row in scores].count(True) == 10


def test_batches_and_standard_input_say_the_same_as_the_file(
    program: Program, csv_file: Path
) -> None:
    plain = program.run("run", "--source", str(csv_file))
    batched = program.run("run", "--source", str(csv_file), "--batch", "16")
    piped = program.run("run", "--source", "-", text=csv_file.read_text())
    assert batched.stdout == plain.stdout
    assert piped.stdout == plain.stdout.replace('"is_historical":true', '"is_historical":false')


def test_messages_are_appended_to_a_file(program: Program, csv_file: Path) -> None:
    for _ in range(2):
        done = program.run("run", "--source", str(csv_file), "--out", "out.jsonl")
        assert (done.returncode, done.stdout) == (0, "")
    assert len(parsed((program.folder / "out.jsonl").read_text())) == 12


def test_message_arrives_while_standard_input_is_open(live: "subprocess.Popen[str]") -> None:
    assert live.stdin is not None
    assert live.stdout is not None
    live.stdin.write("\n".join([HEADER, *LINES[:30]]) + "\n")
    messages = parsed([live.stdout.readline(), live.stdout.readline()])
    assert [message["kind"] for message in messages] == ["event", "alarm"]
    live.stdin.close()
    assert live.wait() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_ends_the_run_cleanly_and_scores_what_is_open(
    number: signal.Signals, live: "subprocess.Popen[str]"
) -> None:
    assert live.stdin is not None
    assert live.stdout is not None
    assert live.stderr is not None
    live.stdin.write("\n".join([HEADER, *LINES[:24], "what?"]) + "\n")
    assert [json.loads(live.stdout.readline())["kind"] for _ in range(2)] == ["event", "rejected"]
    live.send_signal(number)
    rest = parsed(live.stdout.read())
    assert [message["kind"] for message in rest] == []
    assert "24 samples, 24 cells" in live.stderr.read()
    assert live.wait() == 0


def test_signal_before_the_header_ends_the_run_cleanly(program: Program) -> None:
    process = program.start("--source", "-", "--scores", "scores.jsonl")
    with process:
        while not (program.folder / "scores.jsonl").exists():  # made once signals are handled
            assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0
        assert process.stderr is not None
        assert process.stderr.read().count("\n") == 1


def test_reader_that_goes_away_ends_the_run_without_a_traceback(
    live: "subprocess.Popen[str]",
) -> None:
    assert live.stdin is not None
    assert live.stdout is not None
    assert live.stderr is not None
    live.stdin.write(HEADER + "\n")
    live.stdout.close()
    live.stdin.write("what?\n")
    live.stdin.flush()
    assert live.wait() == 0
    assert "Traceback" not in live.stderr.read()


def test_keys_come_from_the_environment_or_the_usual_folder(program: Program) -> None:
    refused = program.run("check", trust=False)
    assert refused.returncode == 2
    assert "no trusted key, expected one by --key FILE, in FAULTWATCH_EDGE_KEY" in refused.stderr
    paths = os.pathsep.join([str(program.key), str(program.key.parent)])
    named = Program(program.bundle, program.key, program.folder, {"FAULTWATCH_EDGE_KEY": paths})
    assert named.run("check", trust=False).returncode == 0
    trusted = program.folder / ".config/faultwatch/trusted"
    trusted.mkdir(parents=True)
    (trusted / "releases.pub").write_bytes(program.key.read_bytes())
    assert program.run("check", trust=False).returncode == 0


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--source", "none.csv"], "none.csv: cannot be read (No such file or directory)"),
        (["--source", "-"], "-: is empty, expected a header line"),
        (["--source", "-", "--out", "no/folder/out"], "no/folder/out: cannot be opened"),
    ],
)
def test_what_cannot_be_used_is_one_sentence_and_exit_code_2(
    arguments: list[str], reason: str, program: Program
) -> None:
    done = program.run("run", *arguments)
    assert done.returncode == 2
    sentence = done.stderr.splitlines()[-1]
    assert sentence.startswith(f"faultwatch-edge: {reason}")
    assert done.stdout == ""


def test_refused_bundle_is_one_sentence_and_exit_code_2(program: Program) -> None:
    broken = program.folder / "broken.fwb"
    broken.write_bytes(program.bundle.read_bytes()[:-5])
    for verb, arguments in (("check", []), ("run", ["--source", "-"])):
        done = Program(broken, program.key, program.folder).run(verb, *arguments)
        assert done.returncode == 2
        assert done.stderr.startswith("faultwatch-edge: broken.fwb: is not a complete zip file")
        assert done.stderr.count("\n") == 1


def test_full_disk_is_one_sentence_and_exit_code_2(program: Program, csv_file: Path) -> None:
    done = program.run("run", "--source", str(csv_file), "--out", "/dev/full")
    assert done.returncode == 2
    assert "faultwatch-edge: /dev/full: cannot be written (No space left on device)" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("arguments", [["check"], ["run", "--source", "pump.csv"]])
def test_full_standard_output_is_one_sentence_and_exit_code_2(
    arguments: list[str], program: Program, csv_file: Path
) -> None:
    assert csv_file.name == "pump.csv"
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(  # noqa: S603 - our own program
            [*program.command(*arguments), "--key", str(program.key)],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
            cwd=program.folder,
            env=program.environ(),
        )
    assert done.returncode == 2
    assert "No space left on device" in done.stderr
    assert not {"Traceback", "Exception"} & set(done.stderr.split())


@pytest.mark.parametrize("arguments", [["--batch", "0"], ["--batch", "x"]])
def test_options_are_checked(arguments: list[str], program: Program) -> None:
    done = program.run("run", "--source", "-", *arguments)
    assert done.returncode == 2
    assert "argument --batch" in done.stderr


def test_check_imports_no_framework(program: Program) -> None:
    code = (
        "import sys; from faultwatch_edge.__main__ import main; "
        f"code = main(['check', {str(program.bundle)!r}, '--key', {str(program.key)!r}]); "
        f"loaded = set(sys.modules) & set({FRAMEWORKS!r}); "
        "sys.exit(f'loaded: {loaded}' if loaded or code else 0)"
    )
    done = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env=program.environ(),
    )
    assert (done.returncode, done.stderr) == (0, "")
