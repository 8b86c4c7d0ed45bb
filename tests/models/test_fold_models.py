import numpy as np
import pytest
import torch

from features.windows import Windows
from models.config import ModelConfig, ReconstructorName
from models.fold_models import Lesson, fit_model, fit_models, make_lesson

TINY = ModelConfig(latent=2, width=4, epochs=2, windows_per_epoch=128, batch_size=32)


def lesson(
    seed: int, *, channels: int = 3, kind: ReconstructorName = "vae", width: int = 4
) -> Lesson:
    """What a machine of its own teaches."""
    draw, length = np.random.default_rng(seed), 6
    load = np.sin(np.arange(250) / 9)[:, None]
    cells = (load + 0.3 * draw.normal(size=(250, channels))).astype(np.float32)
    ends = np.arange(length - 1, 250)
    times = np.arange(250).astype("datetime64[us]")
    windows = Windows(cells, times, np.zeros(250, np.int64), ends, length)
    config = TINY.model_copy(update={"reconstructor": kind, "width": width, "seed": seed})
    used = torch.ones(channels, dtype=torch.bool)
    return make_lesson(windows, np.arange(len(ends)), config, seed=seed, used=used)


def test_models_of_many_assets_are_those_of_each_asset_alone_in_their_order() -> None:
    """Of two shapes, two widths and three kinds, mixed."""
    lessons = [
        lesson(0),
        lesson(1, channels=4),
        lesson(2, kind="window_pca"),
        lesson(3),
        lesson(4, kind="pca"),
        lesson(5, width=5),
        lesson(6, channels=4),
    ]
    for one, (model, _) in zip(lessons, fit_models(lessons), strict=True):
        alone, _ = fit_model(one)
        values, present = one.spread()
        for made, wanted in zip(
            model.reconstructor(values, present), alone.reconstructor(values, present), strict=True
        ):
            torch.testing.assert_close(made, wanted, atol=1e-4, rtol=1e-4)
        for made, wanted in zip(
            model.operating_point(values, present),
            alone.operating_point(values, present),
            strict=True,
        ):
            torch.testing.assert_close(made, wanted)


def test_losses_are_told_of_those_that_were_trained_together() -> None:
    (_, losses), (_, none) = fit_models([lesson(0), lesson(1, kind="pca")])
    assert [set(epoch) for epoch in losses] == [{"loss", "reconstruction_nll", "kl_divergence"}] * 2
    assert not none


@pytest.mark.parametrize("most", [1, 2, 100])
def test_how_many_go_together_does_not_matter(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    lessons = [lesson(seed) for seed in range(3)]
    whole = fit_models(lessons)
    hidden = most * TINY.batch_size * TINY.width * 6
    monkeypatch.setattr("models.fold_models.HIDDEN_AT_ONCE", hidden)
    for (one, _), (other, _) in zip(fit_models(lessons), whole, strict=True):
        pairs = zip(
            one.reconstructor.state_dict().values(),
            other.reconstructor.state_dict().values(),
            strict=True,
        )
        assert all(torch.allclose(left, right, atol=1e-5) for left, right in pairs)
