"""The sections of an asset file that decide how its detector is made."""

from typing import Literal, Self

from pydantic import BaseModel, Field, model_validator

from features.channels import SECTION

ReconstructorName = Literal["vae", "window_pca", "pca"]
"""``vae`` is the default; the other two are the linear rivals of every report."""


class RunningCondition(BaseModel):
    """The machine counts as running while ``channel`` is above or below a value."""

    model_config = SECTION

    channel: str
    """Name of the channel that is compared."""
    above: float | None = None
    """Running only while the value is greater than this, in the channel's unit."""
    below: float | None = None
    """Running only while the value is less than this, in the channel's unit."""

    @model_validator(mode="after")
    def _check_bounds(self) -> Self:
        if self.above is None and self.below is None:
            msg = f"[regime] running: channel '{self.channel}' needs 'above', 'below' or both"
            raise ValueError(msg)
        return self


class RegimeConfig(BaseModel):
    """``[regime]``: when the asset's behaviour is scored at all."""

    model_config = SECTION

    running: tuple[RunningCondition, ...] = ()
    """All must hold; empty means that the machine always runs."""
    startup_ignore_s: float = Field(default=0.0, ge=0.0)
    """Seconds after the start of running (or of the data) that are not scored."""


class Augmentation(BaseModel):
    """``[model.augmentation]``: how training windows are varied."""

    model_config = SECTION

    mask: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Share of channels hidden from the encoder, drawn anew for each window."""
    pc_offset: float = Field(default=0.0, ge=0.0)
    """Size of the constant offset along the leading principal directions; 0 switches it off."""
    pc_directions: int = Field(default=16, ge=1)
    """How many leading principal directions the offset may use."""


class ModelConfig(BaseModel):
    """``[model]``: which reconstructor, how large, how trained."""

    model_config = SECTION

    reconstructor: ReconstructorName = "vae"
    """What turns a window into the expected window."""
    latent: int = Field(default=16, ge=1)
    """Dimensions of the latent space."""
    width: int = Field(default=32, ge=4)
    """Channels of the hidden convolutions."""
    epochs: int = Field(default=10, ge=1)
    """Parts of the training after which the losses are reported."""
    windows_per_epoch: int = Field(default=5_120, ge=1)
    """Windows of an epoch of full batches; bounds the cost of training."""
    batch_size: int = Field(default=256, ge=1)
    """Windows an optimiser step; fewer where there are few windows."""
    learning_rate: float = Field(default=2e-3, gt=0.0)
    """Peak learning rate of the one-cycle schedule."""
    beta: float = Field(default=0.1, ge=0.0)
    """Weight of the KL term of the ELBO once annealing has ended."""
    anneal: float = Field(default=0.3, ge=0.0, le=1.0)
    """Share of the training during which beta rises from 0."""
    folds: int = Field(default=3, ge=2)
    """Parts of the normal running that are each scored by a model that never saw them."""
    augmentation: Augmentation = Augmentation()
    """How training windows are varied."""
    seed: int = Field(default=0, ge=0)
    """The one seed of the training; the same seed gives the same detector."""


class AlarmConfig(BaseModel):
    """``[alarm]``: the false-alarm budget, the delays and what the operator is told."""

    model_config = SECTION

    false_alarms_per_day: float = Field(default=0.1, gt=0.0)
    """Budget: alarms raised per 24 h of scored normal running."""
    on_delay_s: float = Field(default=0.0, ge=0.0)
    """Seconds that the anomaly must last before the alarm is raised."""
    off_delay_s: float = Field(default=0.0, ge=0.0)
    """Seconds without anomaly before the alarm returns to normal."""
    hysteresis: float = Field(default=0.0, ge=0.0)
    """How far below the threshold, in units of the score, it must be for that."""
    latch: bool = False
    """Whether an alarm that has returned must be acknowledged again."""
    priority: Literal["low", "medium", "high", "critical"] = "medium"
    """Priority of the alarm in the sense of ISA-18.2."""
    cause: str = ""
    """Likely cause, for the operator."""
    consequence: str = ""
    """What happens if nobody acts, for the operator."""
    action: str = ""
    """What to do, for the operator."""
    enabled: bool = False
    """False = shadow: scored and journalled, nothing announced."""
