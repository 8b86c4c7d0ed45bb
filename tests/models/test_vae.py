import pytest
import torch

from models.vae import ConvVae, dilations


def small_vae(seed: int = 0) -> ConvVae:
    torch.manual_seed(seed)
    return ConvVae(channels=3, length=16, width=8, latent=4).eval()


def windows(seed: int = 1) -> torch.Tensor:
    return torch.randn(5, 3, 16, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("cell", [0, 7, 15])
def test_the_encoder_never_sees_the_future(cell: int) -> None:
    vae, x = small_vae(), windows()
    hidden = vae.encoder(vae.read(torch.cat([x, torch.zeros_like(x)], dim=1)))
    x[:, :, cell:] += 3.0
    after = vae.encoder(vae.read(torch.cat([x, torch.zeros_like(x)], dim=1)))
    torch.testing.assert_close(hidden[:, :, :cell], after[:, :, :cell], rtol=0.0, atol=0.0)
    assert not torch.equal(hidden[:, :, cell], after[:, :, cell])


def test_the_last_hidden_state_has_seen_the_first_cell() -> None:
    vae, x = small_vae(), windows()
    everything = torch.ones_like(x, dtype=torch.bool)
    before, _ = vae.encode(x, everything)
    x[:, :, 0] += 3.0
    after, _ = vae.encode(x, everything)
    assert not torch.equal(before, after)


@pytest.mark.parametrize("length", [2, 3, 16, 17, 100])
def test_the_dilations_span_the_window_and_no_more_than_needed(length: int) -> None:
    def reach(steps: list[int]) -> int:
        return 1 + 2 * sum(steps)

    assert reach(dilations(length)) >= length
    assert len(dilations(length)) == 1 or reach(dilations(length)[:-1]) < length


def test_the_mean_path_draws_nothing() -> None:
    vae, x = small_vae(), windows()
    everything = torch.ones_like(x, dtype=torch.bool)
    state = torch.get_rng_state()
    first, again = vae(x, everything), vae(x, everything)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert torch.equal(vae.decode(first[1]), first[0])


def test_what_is_missing_is_told_apart_from_the_mean() -> None:
    vae, x = small_vae(), torch.zeros(1, 3, 16)
    everything = torch.ones_like(x, dtype=torch.bool)
    without_one = everything.clone()
    without_one[:, 1] = False
    assert not torch.equal(vae.encode(x, everything)[0], vae.encode(x, without_one)[0])


def test_gross_values_look_alike_to_the_encoder() -> None:
    vae, x = small_vae(), windows()
    everything = torch.ones_like(x, dtype=torch.bool)
    x[:, 0] = 7.0
    before, _ = vae.encode(x, everything)
    x[:, 0] = 1e6
    after, _ = vae.encode(x, everything)
    assert torch.equal(before, after)
