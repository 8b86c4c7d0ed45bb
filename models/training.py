"""Lightning training of the variational autoencoder: data, masks, augmentation, the loop."""

import logging
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pytorch_lightning as pl
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from pytorch_lightning.loggers import Logger
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset
from typing_extensions import override

from features.windows import Windows
from models.config import Augmentation, ModelConfig
from models.losses import annealed_beta, kl_divergence, reconstruction_nll
from models.normalizer import Normalizer
from models.vae import ConvVae, reparameterise
from models.window_pca import WindowPca

TrainingLogger = Logger
"""Takes the losses of each epoch; the one name by which others know Lightning's loggers."""
CENTRE_WINDOWS = 10_000
"""Windows that the mean residual is taken over, about."""
CENTRE_BATCH = 512
LOSSES = ("loss", "reconstruction_nll", "kl_divergence")
"""What is told of each epoch."""
CLIPPED_AT = 1.0
"""Length of a gradient, at most."""
SMALL_BATCH = 32
STEPS_THROUGH_ALL = 8
"""Batches that all windows fill, at least, unless there are too few even for small ones."""
Batch = tuple[Float[Tensor, "batch channel time"], Bool[Tensor, "batch channel time"]]


@dataclass(frozen=True)
class TrainingWindows:
    """Windows in standard units that a model learns from."""

    windows: Windows
    index: NDArray[np.int64]
    """Numbers of the windows that may be seen."""
    normalizer: Normalizer

    def batch(self, places: NDArray[np.int64]) -> Batch:
        """Standardised windows, and where a value is present."""
        values, present = self.normalizer(torch.from_numpy(self.windows.take(self.index[places])))
        return values, present


class ShuffledBatches(IterableDataset[Batch]):
    """Windows drawn anew for each epoch, in an order that the seed decides.

    An epoch is always as many batches, so that little data are not little training: where there
    are few windows the batches are smaller, and the windows come several times, each once before
    any comes again.
    """

    def __init__(self, source: TrainingWindows, config: ModelConfig, *, seed: int) -> None:
        super().__init__()
        self.source = source
        usual = max(SMALL_BATCH, len(source.index) // STEPS_THROUGH_ALL)
        self.batch_size = min(config.batch_size, len(source.index), usual)
        self.batches = max(1, config.windows_per_epoch // config.batch_size)
        self.generator = np.random.default_rng(seed)

    def __len__(self) -> int:
        return self.batches

    @override
    def __iter__(self) -> Iterator[Batch]:
        order = np.empty(0, dtype=np.int64)
        for _ in range(self.batches):
            if len(order) < self.batch_size:
                order = self.generator.permutation(len(self.source.index))
            yield self.source.batch(order[: self.batch_size])
            order = order[self.batch_size :]


class WindowData(pl.LightningDataModule):
    """The training windows, as Lightning wants them."""

    def __init__(self, source: TrainingWindows, config: ModelConfig, *, seed: int) -> None:
        super().__init__()
        self.batches = ShuffledBatches(source, config, seed=seed)

    @override
    def train_dataloader(self) -> DataLoader[Batch]:
        return DataLoader(self.batches, batch_size=None, num_workers=0)


class Augmenter(nn.Module):
    """Hides channels from the encoder and shifts windows along the principal directions.

    The shift is constant over a window: ``sum_i a_i sqrt(l_i) p_i`` with ``a ~ N(0, 1)`` over the
    leading principal directions of the training rows. It teaches that operating points move.
    """

    directions: Tensor

    def __init__(self, rows: Float[Tensor, "row channel"], config: Augmentation) -> None:
        super().__init__()
        self.config = config
        variances, vectors = torch.linalg.eigh((rows.double().T @ rows.double()) / len(rows))
        kept = min(config.pc_directions, rows.shape[1])
        scaled = vectors[:, -kept:] * variances[-kept:].clamp(min=0.0).sqrt()
        self.register_buffer("directions", (config.pc_offset * scaled).T.float())

    @override
    def forward(
        self,
        values: Float[Tensor, "batch channel time"],
        present: Bool[Tensor, "batch channel time"],
        generator: torch.Generator,
    ) -> Batch:
        """Shifted windows, and which of their values the encoder may see."""
        amounts = torch.randn(len(values), len(self.directions), generator=generator)
        shifted = values + (amounts @ self.directions)[:, :, None]
        shown = torch.rand(values.shape[:2], generator=generator) >= self.config.mask
        return torch.where(present, shifted, 0.0), present & shown[:, :, None]


class Drawn(NamedTuple):
    """A batch as one step of the training uses it."""

    seen: Float[Tensor, "batch channel time"]
    """What the encoder is given, 0 where it is shown nothing."""
    shown: Bool[Tensor, "batch channel time"]
    wanted: Float[Tensor, "batch channel time"]
    """What the decoder should say."""
    present: Bool[Tensor, "batch channel time"]
    noise: Float[Tensor, "batch latent"]


class Drawing:
    """Draws masks, shifts and noise of a training, in an order that the seed decides.

    Args:
        augmenter: masks and shifts.
        linear: the autoencoder learns what it leaves over; None = it learns windows.
        latent: dimensions of the noise.
        seed: decides all that is drawn.
    """

    def __init__(
        self, augmenter: Augmenter, linear: WindowPca | None, *, latent: int, seed: int
    ) -> None:
        self.augmenter, self.linear, self.latent = augmenter, linear, latent
        self.generator = torch.Generator().manual_seed(seed)

    def draw(self, batch: Batch) -> Drawn:
        """What the next step is made from."""
        values, present = batch
        values, shown = self.augmenter(values, present, self.generator)
        wanted = left_over(self.linear, values, present)
        noise = torch.randn(len(values), self.latent, generator=self.generator)
        return Drawn(torch.where(shown, values, 0.0), shown, wanted, present, noise)


class Elbo(nn.Module):
    """The negative evidence lower bound of an autoencoder, for each value of a window."""

    def __init__(self, vae: ConvVae) -> None:
        super().__init__()
        self.vae = vae

    @override
    def forward(self, drawn: Drawn, beta: float) -> tuple[Tensor, Tensor, Tensor]:
        """The loss, and the two parts of it: error and divergence of a window."""
        mean, log_variance = self.vae.encode(drawn.seen, drawn.shown)
        expected = self.vae.decode(reparameterise(mean, log_variance, drawn.noise))
        error = reconstruction_nll(
            drawn.wanted, expected, drawn.present, self.vae.log_variance
        ).mean()
        divergence = kl_divergence(mean, log_variance).mean()
        return (error + beta * divergence) / drawn.wanted[0].numel(), error, divergence


class VaeTraining(pl.LightningModule):
    """Maximises the evidence lower bound of the windows, with beta rising from 0."""

    def __init__(
        self,
        vae: ConvVae,
        augmenter: Augmenter,
        config: ModelConfig,
        *,
        linear: WindowPca | None,
        seed: int,
    ) -> None:
        super().__init__()
        self.elbo = Elbo(vae)
        self.drawing = Drawing(augmenter, linear, latent=config.latent, seed=seed)
        self.config = config
        self.steps = 2
        self.sums = torch.zeros(4)

    @override
    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        beta = annealed_beta(
            step=self.global_step,
            steps=self.steps,
            beta=self.config.beta,
            anneal=self.config.anneal,
        )
        loss: Tensor
        loss, error, divergence = self.elbo(self.drawing.draw(batch), beta)
        self.sums += torch.stack([loss, error, divergence, torch.ones(())]).detach()
        return loss

    @override
    def on_train_epoch_end(self) -> None:
        means = (self.sums[:3] / self.sums[3]).tolist()
        self.sums.zero_()
        self.log_dict(dict(zip(LOSSES, means, strict=True)), on_epoch=True)

    @override
    def configure_optimizers(self) -> dict[str, object]:  # type: ignore[override]
        optimizer = torch.optim.AdamW(self.elbo.parameters(), lr=self.config.learning_rate)
        self.steps = max(int(self.trainer.estimated_stepping_batches), 2)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, self.config.learning_rate, total_steps=self.steps
        )
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }


def left_over(
    linear: WindowPca | None,
    values: Float[Tensor, "batch channel time"],
    present: Bool[Tensor, "batch channel time"],
) -> Float[Tensor, "batch channel time"]:
    """What a linear model does not explain of windows; all of them where there is none."""
    if linear is None:
        return values
    explained, _ = linear(values, present)
    rest: Tensor = values - explained
    return rest


def fit_vae(
    source: TrainingWindows,
    config: ModelConfig,
    *,
    seed: int,
    linear: WindowPca | None = None,
    logger: TrainingLogger | None = None,
) -> ConvVae:
    """Train the autoencoder; the same seed and windows give the same weights.

    Args:
        source: the windows that the model may see.
        config: sizes, epochs, beta and augmentation.
        seed: decides initial weights, order of windows, masks, shifts and noise.
        linear: what it learns to correct: it begins at no correction. None = it learns windows.
        logger: takes the losses of each epoch; None = nowhere.
    """
    vae = untrained_vae(source, config, seed=seed, linear=linear)
    rows = last_rows(source)
    augmenter = Augmenter(rows, config.augmentation)
    _silence_lightning()
    trainer = pl.Trainer(
        max_epochs=config.epochs,
        accelerator="cpu",
        logger=logger or False,
        log_every_n_steps=1,
        gradient_clip_val=CLIPPED_AT,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        deterministic=True,
    )
    training = VaeTraining(vae, augmenter, config, linear=linear, seed=seed)
    torch.set_flush_denormal(True)  # where little is left to learn, gradients fall below them
    try:
        trainer.fit(training, WindowData(source, config, seed=seed))
    finally:
        torch.set_flush_denormal(False)
    return finished_vae(vae, source, rows, linear)


def untrained_vae(
    source: TrainingWindows, config: ModelConfig, *, seed: int, linear: WindowPca | None
) -> ConvVae:
    """The autoencoder that a training begins with; one that corrects begins at no correction."""
    channels, length = source.windows.cells.shape[1], source.windows.length
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        vae = ConvVae(channels=channels, length=length, width=config.width, latent=config.latent)
    if linear is not None:
        nn.init.zeros_(vae.write.weight)
        nn.init.zeros_(vae.write.bias)  # type: ignore[arg-type]  # this layer has one
    return vae


def finished_vae(
    vae: ConvVae,
    source: TrainingWindows,
    rows: Float[Tensor, "row channel"],
    linear: WindowPca | None,
) -> ConvVae:
    """What a training ends with: nothing said of constant channels, the mean residual zero."""
    _forget_constant(vae, rows)
    _centre(vae.eval(), source, linear)
    return vae


def _silence_lightning() -> None:
    """Drop three notes that a user of this training can do nothing about."""
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    for note in (".*LeafSpec.*", ".*IterableDataset.*__len__.*", ".*does not have many workers.*"):
        warnings.filterwarnings("ignore", message=note)


def _forget_constant(vae: ConvVae, rows: Float[Tensor, "row channel"]) -> None:
    """Expect of a channel that never moved just what it always was."""
    constant = (rows == rows[0]).all(dim=0)
    bias: Tensor = vae.write.bias  # type: ignore[assignment]  # this layer has one
    with torch.no_grad():
        vae.write.weight[constant] = 0.0
        bias[constant] = 0.0


def _centre(vae: ConvVae, source: TrainingWindows, linear: WindowPca | None) -> None:
    """Make the training windows' mean residual zero, for every channel and cell.

    Where the optimiser stops, each model is off by a little of its own; left in, that would make
    scores of one model disagree with a calibration made by others.
    """
    places = np.arange(0, len(source.index), max(1, len(source.index) // CENTRE_WINDOWS))
    total, count = torch.zeros_like(vae.offset), torch.zeros_like(vae.offset)
    with torch.no_grad():
        for start in range(0, len(places), CENTRE_BATCH):
            values, present = source.batch(places[start : start + CENTRE_BATCH])
            expected, _ = vae(values, present)
            wanted = left_over(linear, values, present)
            total += torch.where(present, wanted - expected, 0.0).sum(dim=0)
            count += present.sum(dim=0)
    vae.offset += total / count.clamp(min=1.0)


def last_rows(source: TrainingWindows) -> Float[Tensor, "row channel"]:
    """Last row of each window, in standard units."""
    rows = source.windows.cells[source.windows.ends[source.index]]
    values, _ = source.normalizer(torch.from_numpy(rows)[:, :, None])
    last: Tensor = values[:, :, 0]
    return last
