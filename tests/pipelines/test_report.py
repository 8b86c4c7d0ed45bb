from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from faultwatch_edge.bundle import Bundle, Certificate
from features.datasets.tep import load_samples
from features.drift import Shift
from features.labels import Interval
from features.windows import Windows
from pipelines.candidate import Origin, asset_windows, make_candidate
from pipelines.channel_drift import ChannelDrift
from pipelines.config import AssetConfig, load_asset
from pipelines.report import (
    Life,
    WindowScores,
    draw_certificate,
    draw_contributions,
    draw_lives,
    draw_losses,
    draw_scores,
    score_windows,
)
from pipelines.review_pictures import draw_detector, draw_drift, draw_latent_map

START = datetime(2026, 1, 1, tzinfo=UTC)
COUNT = 300


def is_drawn(figure: Figure) -> bool:
    """Whether the canvas holds more than one colour."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # type: ignore[no-untyped-call]
    pixels = np.asarray(canvas.buffer_rgba())  # type: ignore[no-untyped-call]
    return len(np.unique(pixels.reshape(-1, 4), axis=0)) > 20


def make_scores(*, latent: int = 3) -> WindowScores:
    generator = np.random.default_rng(0)
    score = generator.exponential(0.4, COUNT).astype(np.float32)
    score[200:260] += 20.0
    return WindowScores(
        times=np.datetime64("2026-01-01", "us") + np.arange(COUNT) * np.timedelta64(180, "s"),
        score=score,
        scored=np.ones(COUNT, np.bool_),
        contribution=generator.random((COUNT, 5)).astype(np.float32),
        observed=generator.random((COUNT, 5)).astype(np.float32),
        expected=generator.random((COUNT, 5)).astype(np.float32),
        latent=generator.normal(size=(COUNT, latent)).astype(np.float32),
    )


def fault() -> Interval:
    return Interval(
        START + timedelta(hours=10), START + timedelta(hours=13), "fault", "valve stuck"
    )


@pytest.fixture(scope="module")
def asset() -> AssetConfig:
    """The demo plant's first eight channels, in short windows."""
    plant = load_asset("tennessee_eastman")
    window = plant.window.model_copy(update={"length": 4, "min_channels": 1})
    return plant.model_copy(update={"channel": plant.channel[:8], "window": window})


@pytest.fixture(scope="module")
def recent(asset: AssetConfig) -> Windows:
    return asset_windows(asset, load_samples("fault")[:1_440])


@pytest.fixture(scope="module")
def bundle(asset: AssetConfig, recent: Windows, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_candidate(
        asset,
        "pca",
        normal=asset_windows(asset, load_samples("train")[:5_000]),
        recent=recent,
        origin=Origin(1, START, "", 0),
        folder=tmp_path_factory.mktemp("bundles"),
        private_key=Ed25519PrivateKey.generate(),
    ).bundle


def test_every_window_is_scored_by_the_edge_runtime(bundle: Bundle, recent: Windows) -> None:
    scores = score_windows(bundle, recent)
    assert len(scores.score) == len(recent)
    firsts = [run[0] for run in recent.runs()]
    assert len(firsts) == 3
    assert not scores.scored[firsts].any()  # each run starts from a fresh state
    np.testing.assert_array_equal(scores.observed, recent.cells[recent.ends])


def test_the_pictures_of_a_detector_are_drawn(bundle: Bundle, recent: Windows) -> None:
    at: datetime = load_samples("fault")["time"][0]
    labelled = [
        Interval(at + timedelta(hours=8), at + timedelta(hours=24), "fault", "loss of feed")
    ]
    figures = draw_detector(bundle, recent, labelled)
    assert set(figures) == {"scores", "observed_and_expected", "latent_map", "contributions"}
    assert all(is_drawn(figure) for figure in figures.values())


def test_the_losses_have_a_panel_each() -> None:
    figure = draw_losses({"loss": [3.0, 2.0, 1.5], "kl_divergence": [0.1, 0.2, 0.3]})
    assert [axes.get_title() for axes in figure.axes] == ["loss", "kl divergence"]
    assert np.asarray(figure.axes[0].lines[0].get_ydata()).tolist() == [3.0, 2.0, 1.5]
    assert is_drawn(figure)


def test_the_score_is_drawn_with_its_threshold_and_the_labels() -> None:
    figure = draw_scores(make_scores(), 3.0, [fault()])
    axes = figure.axes[0]
    normal, anomalous = (len(points.get_offsets()) for points in axes.collections)  # type: ignore[arg-type]
    above = int((make_scores().score >= 3.0).sum())
    assert (normal, anomalous) == (COUNT - above, above)
    assert np.asarray(axes.lines[0].get_ydata()).tolist() == [3.0, 3.0]
    assert len(axes.patches) == 1
    assert is_drawn(figure)


@pytest.mark.parametrize("latent", [1, 2, 5])
def test_a_latent_of_any_size_has_a_map(latent: int) -> None:
    figure = draw_latent_map(make_scores(latent=latent), [fault()])
    assert is_drawn(figure)


def test_the_latent_map_is_coloured_by_time_by_regime_and_by_label() -> None:
    scores = make_scores()
    scores.scored[:40] = False
    nuisance = Interval(START, START + timedelta(hours=1), "nuisance")
    figure = draw_latent_map(scores, [fault(), nuisance])
    by_time, by_regime, by_label = figure.axes[:3]
    titles = [axes.get_title() for axes in (by_time, by_regime, by_label)]
    assert titles == [f"Latent map by {what}" for what in ("time", "regime", "label")]
    days = np.asarray(by_time.collections[0].get_array())
    assert (days[0], days[-1]) == (0.0, (COUNT - 1) * 180 / 86_400)
    counts = [
        [len(points.get_offsets()) for points in axes.collections]  # type: ignore[arg-type]
        for axes in (by_regime, by_label)
    ]
    assert counts == [[COUNT - 40, 40], [COUNT - 60, 60]]


def make_shift(channel: str, deviations: float) -> Shift:
    return Shift(channel, "bar", 1.0, 2.0, deviations, has_moved=None)


def test_a_drift_has_a_bar_a_channel_and_part_the_furthest_first_and_none_beyond_the_edge() -> None:
    learned = (make_shift("flow", 0.1), make_shift("level", -0.2))
    held_out = (make_shift("level", -np.inf), make_shift("flow", 0.4))
    (figure,) = draw_drift(ChannelDrift(learned, held_out)).values()
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["level", "flow"]
    widths = [[float(bar.get_width()) for bar in bars] for bars in axes.containers]
    assert widths == [[0.1, -0.2], [-10.0, 0.4]]
    assert is_drawn(figure)


def test_without_a_champion_no_drift_is_drawn() -> None:
    assert draw_drift(None) == {}


def test_contributions_have_a_row_a_fault_that_was_seen() -> None:
    unseen = Interval(START + timedelta(days=30), START + timedelta(days=31), "fault", "later")
    figure = draw_contributions(make_scores(), [fault(), unseen], list("abcde"))
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels == ["(normal)", "valve stuck"]
    assert is_drawn(figure)


def test_two_lives_are_drawn_beside_each_other() -> None:
    scores = make_scores()
    lives = [
        Life("autoencoder", scores.times, scores.score, 3.0, [12.0, None]),
        Life("linear", scores.times, scores.score, 3.0, [15.0, 90.0]),
    ]
    spans = [
        (START, START + timedelta(hours=7), None),
        (START + timedelta(hours=7), START + timedelta(hours=15), START + timedelta(hours=10)),
    ]
    figure = draw_lives(lives, spans, ["valve stuck", "feed lost"])
    assert len(figure.axes) == 2
    assert is_drawn(figure)


def test_the_map_of_a_certificate_has_a_figure_in_every_cell(certificate: Certificate) -> None:
    (figure,) = draw_certificate(certificate).values()
    assert is_drawn(figure)
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["flow", "mood"]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["bias", "dropout"]
    cells = [text.get_text() for text in axes.texts]
    assert cells == ["\N{LESS-THAN OR EQUAL TO} 0.5", "found", "> 16", "not found"]
    assert len(axes.patches) == 2  # what is not found is grey


def test_without_limits_there_is_no_map(certificate: Certificate) -> None:
    assert draw_certificate(None) == {}
    assert draw_certificate(replace(certificate, limits=())) == {}
