"""What the measured signals of an asset are: names, units, kinds, physical ranges."""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

SECTION = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
"""How every section of an asset file behaves: frozen, unknown keys refused, numbers finite."""

RESERVED = ("time", "month", "fate", "is_new", "sequence", "cell")
"""Names of columns that stand beside the channels in some frame or table."""


class Channel(BaseModel):
    """One measured signal of an asset.

    Example:
        >>> flow = Channel(name="flow", unit="m3/h", range=(0.0, 120.0))
        >>> flow.kind, flow.reporting
        ('continuous', 'periodic')
    """

    model_config = SECTION

    name: str = Field(min_length=1, pattern=r"^[A-Za-z][A-Za-z0-9_]*$")
    """Column name of the channel in every frame."""
    tag: str | None = None
    """Name of the signal at the source, where it differs from ``name``."""
    former_tags: tuple[str, ...] = ()
    """Earlier names of the signal at the source: files that still have them are read."""
    unit: str = ""
    """Engineering unit, as people write it: ``m3/h``, ``degC``, ``%``."""
    description: str = ""
    """What is measured, in a few words."""
    kind: Literal["continuous", "discrete", "counter"] = "continuous"
    """How samples become one value a grid cell: mean, last value, difference."""
    reporting: Literal["periodic", "on_change"] = "periodic"
    """Whether silence means *missing* (periodic) or *unchanged* (on_change)."""
    range: tuple[float, float] | None = None
    """Physical range, lowest and highest possible value, in ``unit``."""
    follows: str | None = None
    """Name of the set-point channel that this channel follows."""

    @model_validator(mode="after")
    def _check_range(self) -> Self:
        if self.name in RESERVED:
            msg = f"channel '{self.name}' has the name of a column of ours; give it another name"
            raise ValueError(msg)
        if self.range is not None and self.range[0] >= self.range[1]:
            msg = (
                f"channel '{self.name}': range = [{self.range[0]:g}, {self.range[1]:g}] is empty; "
                "write the lowest value first"
            )
            raise ValueError(msg)
        return self


def channel_names(channels: tuple[Channel, ...]) -> list[str]:
    """Names in order.

    Example:
        >>> channel_names((Channel(name="flow"), Channel(name="pressure")))
        ['flow', 'pressure']
    """
    return [channel.name for channel in channels]
