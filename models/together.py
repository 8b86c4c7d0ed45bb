"""Training of many small autoencoders at once: one step of all is one call.

A small model leaves a core waiting for Python between its many small operations. Models of the
same shape go through `torch.func` together: each has its own windows, order, masks, shifts, noise,
clipping and end, as if `fit_vae` had trained it alone.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor
from torch.func import functional_call, stack_module_state, vmap

from models.config import ModelConfig
from models.losses import annealed_beta
from models.training import (
    CLIPPED_AT,
    LOSSES,
    Augmenter,
    Batch,
    Drawing,
    Drawn,
    Elbo,
    ShuffledBatches,
    TrainingWindows,
    finished_vae,
    last_rows,
    untrained_vae,
)
from models.vae import ConvVae
from models.window_pca import WindowPca

EPSILON = 1e-6
"""What torch adds to a norm before it divides by it."""


Losses = dict[str, float]


class TrainedVae(NamedTuple):
    """A model, and what its training came to, epoch by epoch."""

    vae: ConvVae
    losses: list[Losses]


def fit_vaes(
    sources: Sequence[TrainingWindows],
    config: ModelConfig,
    *,
    seeds: Sequence[int],
    linears: Sequence[WindowPca | None],
) -> list[TrainedVae]:
    """Train many autoencoders at once; each has the weights that `fit_vae` gives it, but rounding.

    Args:
        sources: the windows that each model may see.
        config: sizes, epochs, beta and augmentation of all.
        seeds: one for each; decides initial weights, order of windows, masks, shifts and noise.
        linears: what each learns to correct; None = it learns windows.

    Raises:
        ValueError: the models differ in channels, in cells of a window or in size of a batch.
    """
    shapes = {shape_of(source, config): None for source in sources}
    if len(shapes) > 1:
        raise ValueError(f"expected models of one shape, found {' and '.join(map(str, shapes))}")
    each = list(zip(sources, seeds, linears, strict=True))
    rows = [last_rows(source) for source in sources]
    vaes = [
        untrained_vae(source, config, seed=seed, linear=linear) for source, seed, linear in each
    ]
    batches = [ShuffledBatches(source, config, seed=seed) for source, seed, _ in each]
    drawings = [
        Drawing(Augmenter(own, config.augmentation), linear, latent=config.latent, seed=seed)
        for own, (_, seed, linear) in zip(rows, each, strict=True)
    ]
    torch.set_flush_denormal(True)
    try:
        losses = _train(vaes, batches, drawings, config)
    finally:
        torch.set_flush_denormal(False)
    for vae, own, (source, _, linear) in zip(vaes, rows, each, strict=True):
        finished_vae(vae, source, own, linear)
    return [TrainedVae(*pair) for pair in zip(vaes, losses, strict=True)]


def shape_of(source: TrainingWindows, config: ModelConfig) -> tuple[int, int, int]:
    """Channels, cells of a window and windows of a batch: what models trained together share."""
    batch = ShuffledBatches(source, config, seed=0).batch_size
    return source.windows.cells.shape[1], source.windows.length, batch


def _train(
    vaes: Sequence[ConvVae],
    batches: Sequence[ShuffledBatches],
    drawings: Sequence[Drawing],
    config: ModelConfig,
) -> list[list[Losses]]:
    """All steps of all models, whose weights are then written back into them."""
    bounds = [Elbo(vae) for vae in vaes]
    weights, buffers = stack_module_state(bounds)
    bound_of = vmap(partial(functional_call, bounds[0]), in_dims=((0, 0), (0, None)))
    optimizer = torch.optim.AdamW(weights.values(), lr=config.learning_rate)
    steps = max(config.epochs * len(batches[0]), 2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, config.learning_rate, total_steps=steps
    )
    epochs: list[Tensor] = []
    for epoch in range(config.epochs):
        sums = torch.zeros(len(LOSSES), len(vaes))
        for number, together in enumerate(zip(*batches, strict=True)):
            step = epoch * len(batches[0]) + number
            beta = annealed_beta(step=step, steps=steps, beta=config.beta, anneal=config.anneal)
            optimizer.zero_grad()
            parts = bound_of((weights, buffers), (_stacked(drawings, together), beta))
            parts[0].sum().backward()  # of each model by its own weights alone
            _clip(list(weights.values()))
            optimizer.step()
            schedule.step()
            sums += torch.stack(parts).detach()
        epochs.append(sums / len(batches[0]))
    _write_back(weights, bounds)
    return [
        [dict(zip(LOSSES, means[:, place].tolist(), strict=True)) for means in epochs]
        for place in range(len(vaes))
    ]


def _stacked(drawings: Sequence[Drawing], batches: Sequence[Batch]) -> Drawn:
    """What each model's next step is made from, one upon the other."""
    pairs = zip(drawings, batches, strict=True)
    parts = [drawing.draw(batch) for drawing, batch in pairs]
    return Drawn(*(torch.stack(part) for part in zip(*parts, strict=True)))


def _write_back(weights: Mapping[str, Tensor], bounds: Sequence[Elbo]) -> None:
    with torch.no_grad():
        for place, bound in enumerate(bounds):
            for name, weight in bound.named_parameters():
                weight.copy_(weights[name][place])


def _clip(weights: Sequence[Tensor]) -> None:
    """Shorten the gradient of each model to a length of 1, as Lightning does it."""
    gradients = [weight.grad for weight in weights if weight.grad is not None]
    norm = torch.stack([g.flatten(1).norm(dim=1) for g in gradients]).norm(dim=0)
    share = (CLIPPED_AT / (norm + EPSILON)).clamp(max=1.0)
    for gradient in gradients:
        gradient.mul_(share.reshape(-1, *(1 for _ in gradient.shape[1:])))
