"""The asset file: one TOML file that says all about one machine."""

import tomllib
from collections.abc import Sequence
from glob import escape
from importlib import resources
from pathlib import Path
from typing import Self

from pydantic import BaseModel, Field, ValidationError, model_validator

from features.channels import SECTION, Channel, channel_names
from features.grid import WindowConfig
from features.source import SourceConfig
from models.config import AlarmConfig, ModelConfig, RegimeConfig
from pipelines.live import LiveConfig, make_payloads


class ConfigError(Exception):
    """An asset file that cannot be used; the message says which option and what to write."""


class AssetInfo(BaseModel):
    """``[asset]``: what the machine is called and where it stands."""

    model_config = SECTION

    id: str = Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")
    """Short name used in files, the registry and messages."""
    name: str = ""
    """Name for people."""
    site: str = ""
    """Plant or line."""
    description: str = ""
    """What the machine does."""


class RetrainConfig(BaseModel):
    """``[retrain]``: when the asset is trained again."""

    model_config = SECTION

    cron: str = "30 2 * * 0"
    """Schedule in cron's words, UTC."""
    lookback_days: float = Field(default=365.0, gt=0.0)
    """Days of history, back from the newest sample, that a training reads."""
    holdout_days: float | None = Field(default=None, gt=0.0)
    """Newest days that nothing is learned from, to judge by; None = the newest fifth."""
    drift: bool = True
    """Whether a machine that has moved since the champion learned is trained at once."""


class AssetConfig(BaseModel):
    """All sections of one asset file."""

    model_config = SECTION

    asset: AssetInfo
    source: SourceConfig
    channel: tuple[Channel, ...] = Field(min_length=1)
    window: WindowConfig
    regime: RegimeConfig = RegimeConfig()
    model: ModelConfig = ModelConfig()
    alarm: AlarmConfig = AlarmConfig()
    retrain: RetrainConfig = RetrainConfig()
    live: LiveConfig | None = None
    """None = only what agents say of the asset is collected, no samples."""

    @model_validator(mode="after")
    def _check_channels(self) -> Self:
        names = channel_names(self.channel)
        doubled = sorted({name for name in names if names.count(name) > 1})
        if doubled:
            msg = f"[[channel]] name '{doubled[0]}' is used twice; channel names are unique"
            raise ValueError(msg)
        _check_spelling(names)
        for channel in self.channel:
            _check_known(channel.follows, names, f"[[channel]] '{channel.name}' follows")
        for condition in self.regime.running:
            _check_known(condition.channel, names, "[regime] running channel")
        if self.window.min_channels > len(names):
            msg = (
                f"[window] min_channels = {self.window.min_channels} is more than "
                f"the {len(names)} channels"
            )
            raise ValueError(msg)
        if self.live is not None:
            make_payloads(self.live, self.channel, asset_id=self.asset.id)
        return self


def _check_spelling(names: Sequence[str]) -> None:
    """Tables do not tell capital letters from small ones."""
    spelt: dict[str, str] = {}
    for name in names:
        other = spelt.setdefault(name.casefold(), name)
        if other != name:
            msg = f"[[channel]] names '{other}' and '{name}' differ only in capital letters"
            raise ValueError(msg)


def _check_known(name: str | None, names: Sequence[str], where: str) -> None:
    if name is not None and name not in names:
        msg = f"{where} = '{name}' is not a channel of this asset; channels: {', '.join(names)}"
        raise ValueError(msg)


def load_asset(path_or_id: str | Path) -> AssetConfig:
    """Read an asset file, or a shipped one by its id.

    Relative paths in ``[source]`` become absolute, seen from the file's folder.

    Raises:
        ConfigError: there is no such file or id, it is not TOML, or an option is wrong.

    Example:
        >>> load_asset("tennessee_eastman").window.sample_period_s
        180.0
    """
    path = _asset_path(path_or_id)
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
        asset = AssetConfig.model_validate(document)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not a TOML file: {error}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 text; save the asset file as UTF-8") from error
    except ValidationError as error:
        raise ConfigError(_sentence(path, error)) from error
    source = asset.source
    located = source.model_copy(
        update={
            "files": str(Path(escape(str(path.parent))) / source.files) if source.files else None,
            "labels": str(path.parent / source.labels) if source.labels else None,
        }
    )
    return asset.model_copy(update={"source": located})


def shipped_assets() -> dict[str, Path]:
    """Asset files that come with Faultwatch, by id."""
    folder = Path(str(resources.files("pipelines") / "assets"))
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def _asset_path(path_or_id: str | Path) -> Path:
    path = Path(path_or_id)
    if path.is_file():
        return path.resolve()
    shipped = shipped_assets()
    if str(path_or_id) in shipped:
        return shipped[str(path_or_id)]
    raise ConfigError(
        f"no asset file '{path_or_id}', and no shipped asset of that id; "
        f"shipped: {', '.join(shipped) or 'none'}"
    )


def _sentence(path: Path, error: ValidationError) -> str:
    first = error.errors()[0]
    message = first["msg"].removeprefix("Value error, ")
    where = ".".join(str(part) for part in first["loc"])
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    given = (
        ""
        if not where or first["type"] in {"missing", "value_error"}
        else f", found {first['input']!r:.80}"
    )
    return f"{path}: {where + ': ' if where else ''}{message}{given}{more}"
