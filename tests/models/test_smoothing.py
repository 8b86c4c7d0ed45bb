import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from features.channels import Channel
from features.grid import WindowConfig
from models.config import RegimeConfig, RunningCondition
from models.gate import RegimeGate
from models.smoothing import RATE, Smoothing

NAN = float("nan")
LENGTH = 4


@st.composite
def cuts(draw: st.DrawFn, count: int) -> list[int]:
    """Bounds of consecutive batches that together hold so many windows."""
    inner = draw(st.sets(st.integers(1, count - 1), max_size=count - 1)) if count > 1 else set()
    return [0, *sorted(inner), count]


# --- smoothing -----------------------------------------------------------------------------------


def smooth_one_by_one(
    values: list[float], scored: list[bool], kept: list[float], start: float, rate: float
) -> list[float]:
    averages, average = [], start
    for value, counts, share in zip(values, scored, kept, strict=True):
        average = (1.0 - rate) * share * average + rate * value if counts else average
        averages.append(average)
    return averages


@settings(deadline=None)
@given(st.data())
def test_any_batches_give_the_averages_of_one_by_one(data: st.DataObject) -> None:
    rows = data.draw(
        st.lists(
            st.tuples(
                st.floats(-1.0, 10.0, width=32), st.booleans(), st.sampled_from([1.0, 0.875, 0.5])
            ),
            min_size=1,
            max_size=40,
        )
    )
    start = data.draw(st.floats(-1.0, 10.0, width=32))
    bounds = data.draw(cuts(len(rows)))
    numbers, counted, shares = ([*column] for column in zip(*rows, strict=True))
    values = torch.tensor(numbers)[:, None]
    scored, kept = torch.tensor(counted).float(), torch.tensor(shares)
    smoothing, state, found = Smoothing(), torch.tensor([start]), []
    for first, last in pairwise(bounds):
        part = slice(first, last)
        averages, state = smoothing(values[part], state, scored[part], kept[part])
        found += averages[:, 0].tolist()
    expected = smooth_one_by_one(numbers, counted, shares, start, smoothing.rate)
    assert found == pytest.approx(expected, abs=1e-4)
    assert state.item() == pytest.approx(expected[-1], abs=1e-4)


def test_a_device_averages_a_batch_as_exactly_as_one_by_one(tmp_path: Path) -> None:
    torch.manual_seed(0)
    values, scored = torch.rand(256, 3), (torch.rand(256) < 0.9).float()
    inputs = (values, torch.zeros(3), scored, 1.0 - 0.5 * (torch.rand(256) < 0.1).float())
    torch.onnx.export(Smoothing().eval(), inputs, tmp_path / "s.onnx", dynamo=True)
    session = onnxruntime.InferenceSession(tmp_path / "s.onnx")
    names = (given.name for given in session.get_inputs())
    found, _ = session.run(
        None, {name: part.numpy() for name, part in zip(names, inputs, strict=True)}
    )
    counts = (scored > 0).tolist()
    kept = inputs[3].tolist()
    expected = [smooth_one_by_one(column.tolist(), counts, kept, 0.0, RATE) for column in values.T]
    np.testing.assert_allclose(found.T, expected, rtol=1e-6)


def test_windows_that_are_not_scored_leave_the_average_alone() -> None:
    values = torch.tensor([[5.0], [1e6], [1e6]])
    scored, kept = torch.tensor([1.0, 0.0, 0.0]), torch.tensor([1.0, 1.0, 0.5])
    averages, state = Smoothing()(values, torch.tensor([2.0]), scored, kept)
    assert averages[0] == averages[1] == averages[2] == state


def test_a_long_batch_loses_no_precision() -> None:
    values = torch.rand(256, 1, generator=torch.Generator().manual_seed(0)) * 10.0
    ones = torch.ones(256)
    averages, _ = Smoothing()(values, torch.zeros(1), ones, ones)
    expected = smooth_one_by_one(values[:, 0].tolist(), [True] * 256, ones.tolist(), 0.0, 0.15)
    assert averages[:, 0].tolist() == pytest.approx(expected, abs=1e-4)


# --- gate ----------------------------------------------------------------------------------------


def make_gate(*, startup_cells: float = 0.0, hop: int = 1, running: bool = True) -> RegimeGate:
    condition = RunningCondition(channel="speed", above=100.0, below=1000.0)
    return RegimeGate(
        (Channel(name="flow"), Channel(name="speed")),
        RegimeConfig(running=(condition,) if running else (), startup_ignore_s=10 * startup_cells),
        WindowConfig(sample_period_s=10.0, length=LENGTH, hop=hop),
    )


def cut_windows(speeds: list[float], hop: int = 1) -> torch.Tensor:
    cells = torch.tensor([[NAN, speed] for speed in speeds])
    return cells.unfold(0, LENGTH, hop)


def expected_gate(speeds: list[float], startup_cells: int, hop: int) -> list[bool]:
    """By counting cells: the machine runs while the speed is right, or not known."""
    opened, count = [], 0
    for place, speed in enumerate(speeds):
        runs = math.isnan(speed) or 100.0 < speed < 1000.0
        count = count + 1 if runs else 0
        if place >= LENGTH - 1 and (place - LENGTH + 1) % hop == 0:
            opened.append(count > startup_cells)
    return opened


@settings(deadline=None, max_examples=200)
@given(st.data())
def test_the_gate_opens_exactly_when_promised(data: st.DataObject) -> None:
    speeds = data.draw(
        st.lists(st.sampled_from([500.0, 500.0, 500.0, NAN, 0.0]), min_size=LENGTH, max_size=40)
    )
    startup_cells, hop = data.draw(st.integers(0, 9)), data.draw(st.integers(1, LENGTH))
    gate, windows = make_gate(startup_cells=startup_cells, hop=hop), cut_windows(speeds, hop)
    bounds = data.draw(cuts(len(windows)))
    state, found = torch.zeros(1), []
    for first, last in pairwise(bounds):
        opened, state = gate(windows[first:last], state)
        found += (opened > 0).tolist()
    assert found == expected_gate(speeds, startup_cells, hop)


def test_a_machine_without_conditions_always_runs() -> None:
    gate = make_gate(startup_cells=6, running=False)
    opened, _ = gate(cut_windows([0.0] * 10), torch.zeros(1))
    assert opened.tolist() == [0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0]  # ends at cells 4 to 10


def test_a_part_of_a_cell_of_startup_is_a_whole_one() -> None:
    gate = make_gate(startup_cells=4.2, running=False)
    opened, _ = gate(cut_windows([0.0] * 7), torch.zeros(1))
    assert opened.tolist() == [0.0, 0.0, 1.0, 1.0]


def test_a_reset_begins_the_startup_anew() -> None:
    gate = make_gate(startup_cells=5, running=False)
    windows = cut_windows([0.0] * 12)
    _, state = gate(windows, torch.zeros(1))
    assert gate(windows[:1], state)[0].item() == 1.0
    assert gate(windows[:1], torch.zeros(1))[0].item() == 0.0


def test_limits_themselves_do_not_count_as_running() -> None:
    for speed, expected in ((100.0, 0.0), (1000.0, 0.0), (100.5, 1.0), (999.5, 1.0)):
        opened, _ = make_gate()(cut_windows([speed] * LENGTH), torch.zeros(1))
        assert opened.item() == expected


def test_the_count_stays_small_however_long_the_machine_runs() -> None:
    gate, state = make_gate(startup_cells=3), torch.zeros(1)
    for _ in range(50):
        _, state = gate(cut_windows([500.0] * 30), state)
    assert state.item() <= 3 + LENGTH + 1
