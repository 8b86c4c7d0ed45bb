"""Fleet flow: all assets of a site in; a challenger for each that has something new out.

Assets are trained in chunks, the models of a chunk together. Nothing is written down about it: what
is done is what the registry has from the samples, labels and asset file of now, so that a run that
was killed goes on where it was.
"""

import logging
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple, TypeVar

from prefect import flow, get_run_logger
from prefect.artifacts import create_markdown_artifact
from rich.console import Console
from typing_extensions import override

from models.crossfit import divide
from models.fold_models import Lesson, Taught, fit_models
from pipelines.candidate import recipe_of
from pipelines.config import AssetConfig, ConfigError, load_asset
from pipelines.engine import work_through
from pipelines.history import History, read_history
from pipelines.processes import one_training
from pipelines.progress import shown_steps
from pipelines.registry import Registry
from pipelines.schedules import scheduled_files
from pipelines.settings import Settings
from pipelines.tracking import answered
from pipelines.train import Lessons, basis_of, prepare_lessons, signing_key, train_asset

AT_ONCE = 8
"""Assets whose models are trained together, at most: their histories are in memory together."""
LOST = (
    "its process ended before it was trained, killed or out of memory; call `fleet` again, which "
    "goes on with what is missing"
)
OURS = ("faultwatch_edge.", "features.", "models.", "pipelines.")
Hear = Callable[["Outcome"], None]
Result = TypeVar("Result")


class FleetError(Exception):
    """Assets that were not trained; the message says which and why."""


@dataclass(frozen=True)
class Outcome:
    """What came of one asset."""

    file: str
    """As it was named."""
    name: str
    """The asset's id; the file where it has none."""
    state: Literal["trained", "nothing new", "failed"]
    reason: str
    """For people."""

    @override
    def __str__(self) -> str:
        return f"{self.name}: {self.state}, {self.reason}"

    def told(self) -> str:
        """The reason, which begins with the asset or its file, once."""
        return self.reason if self.reason.startswith(self.name) else f"{self.name}: {self.reason}"


@dataclass(frozen=True)
class Chunk:
    """Assets that are trained in one process."""

    files: tuple[str, ...]
    settings: Settings
    at: datetime


def find_asset_files(places: Sequence[str]) -> list[str]:
    """Asset files, in the order in which they or their folders are named.

    Args:
        places: asset files, ids of shipped assets, or folders of asset files.

    Raises:
        pipelines.config.ConfigError: a folder has none, or there is no such file or id.
    """
    files: list[str] = []
    for place in places:
        if not Path(place).is_dir():
            load_asset(place)
            files.append(place)
            continue
        found = sorted(path for path in Path(place).glob("*.toml") if _may_be_asset(path))
        if not found:
            raise ConfigError(f"the folder {place} has no asset file; expected files like *.toml")
        files += map(str, found)
    return list(dict.fromkeys(files))


def _may_be_asset(path: Path) -> bool:
    """Whether a file has the section of an asset; one that cannot be read is told later."""
    try:
        return isinstance(tomllib.loads(path.read_text(encoding="utf-8")).get("asset"), dict)
    except (OSError, ValueError):
        return True


def train_fleet(
    files: Sequence[str], settings: Settings, *, at: datetime, hear: Hear = lambda _: None
) -> list[Outcome]:
    """Train all assets that have something new.

    Args:
        files: asset files, or ids of shipped assets.
        settings: historian, MLflow, signing key and engine.
        at: when that is.
        hear: takes what came of an asset, as it comes.

    Returns:
        What came of each, in the order of the files.

    Raises:
        pipelines.train.TrainingError: there is no signing key.
        pipelines.settings.SettingsError: Ray is not there.
    """
    signing_key(settings)
    came: dict[str, Outcome] = {}

    def take(outcome: Outcome) -> None:
        came[outcome.file] = outcome
        hear(outcome)

    names = _names(files, take)
    if names:
        Registry(settings, next(iter(names.values()))).versions()  # makes its tables, once for all
        cut = partial(_cut, tuple(names), settings, at)
        for outcome in work_through(train_chunk, cut, settings):
            take(outcome)
    for file in names.keys() - came.keys():
        take(Outcome(file, names[file], "failed", LOST))
    return [came[file] for file in files]


def _cut(files: tuple[str, ...], settings: Settings, at: datetime, places: int) -> list[Chunk]:
    """Chunks that fill as many places as there are."""
    size = min(AT_ONCE, -(-len(files) // places))
    starts = range(0, len(files), size)
    return [Chunk(files[first : first + size], settings, at) for first in starts]


def _names(files: Sequence[str], take: Hear) -> dict[str, str]:
    """Ids of the assets by their files; those that cannot be used fail."""
    names: dict[str, str] = {}
    owners: dict[str, str] = {}
    for file in files:
        try:
            name = load_asset(file).asset.id
        except ConfigError as error:
            take(Outcome(file, file, "failed", str(error)))
            continue
        if name in owners:
            reason = f"{file} has the id of {owners[name]}; give each asset an id of its own"
            take(Outcome(file, name, "failed", reason))
            continue
        owners[name] = file
        names[file] = name
    return names


class _Ready(NamedTuple):
    """An asset that has something new."""

    file: str
    asset: AssetConfig
    lessons: Lessons
    models: list[Lesson]


def train_chunk(chunk: Chunk) -> Iterator[Outcome]:
    """Train some assets, their models together; give what came of each."""
    ready: list[_Ready] = []
    for file in chunk.files:
        found = _look_at(file, chunk.settings)
        if isinstance(found, Outcome):
            yield found
        else:
            ready.append(found)
    for one, taught in zip(ready, _teach(ready), strict=True):
        yield _tried(one.file, one.asset.asset.id, partial(_finish, one, taught, chunk))


def _teach(ready: Sequence[_Ready]) -> list[list[Taught]]:
    """The models of each asset; none where that fails for one of them: each then fits its own."""
    try:
        taught = iter(fit_models([model for one in ready for model in one.models]))
    except Exception as error:  # noqa: BLE001 - it comes again with the asset that it is of
        logging.getLogger(__name__).warning("not trained together, but one by one: %s", error)
        return [[] for _ in ready]
    return [[next(taught) for _ in one.models] for one in ready]


def _tried(file: str, name: str, step: Callable[[], Result]) -> Result | Outcome:
    """What a step gives, or why it could not be done."""
    try:
        with answered():
            return step()
    except Exception as error:  # noqa: BLE001 - whatever it is of one asset, the others go on
        said = " ".join(str(error).split()) or "no reason given"
        kind = "" if str(type(error).__module__).startswith(OURS) else f"{type(error).__name__}: "
        return Outcome(file, name, "failed", f"{kind}{said}")


def _look_at(file: str, settings: Settings) -> _Ready | Outcome:
    """What is to be learned of an asset, unless its newest version has learned it."""
    asset = _tried(file, file, partial(load_asset, file))
    if isinstance(asset, Outcome):
        return asset
    return _tried(file, asset.asset.id, partial(_prepare, file, asset, settings))


def _prepare(file: str, asset: AssetConfig, settings: Settings) -> _Ready | Outcome:
    registry = Registry(settings, asset.asset.id)
    registry.finish_before(settings)
    history = read_history(asset, settings)
    if done := _done(file, asset, registry, history):
        return done
    lessons = prepare_lessons(asset, history)
    _, models = divide(lessons.normal, recipe_of(asset, asset.model.reconstructor))
    return _Ready(file, asset, lessons, models)


def _done(file: str, asset: AssetConfig, registry: Registry, history: History) -> Outcome | None:
    """That the newest version has learned all; None = it has not."""
    newest = next(iter(registry.versions()), None)
    if newest is None or registry.basis(newest) != basis_of(asset, history):
        return None
    reason = f"version {newest.version} has learned all that is there"
    return Outcome(file, asset.asset.id, "nothing new", reason)


def _finish(ready: _Ready, taught: Sequence[Taught], chunk: Chunk) -> Outcome:
    """Judge and register what was learned, unless another training has, meanwhile."""
    file, asset, settings = ready.file, ready.asset, chunk.settings
    lessons = replace(ready.lessons, taught=taught)
    with one_training(settings.home, asset.asset.id, chunk.at):
        if done := _done(file, asset, Registry(settings, asset.asset.id), lessons.history):
            return done
        trained = train_asset(asset, settings, at=chunk.at, reason="fleet", lessons=lessons)
    reason = f"version {trained.version} is the challenger"
    return Outcome(file, asset.asset.id, "trained", reason)


def told_at_the_end(came: Sequence[Outcome]) -> str:
    """How many assets were trained and how many not, and why not.

    Example:
        >>> print(told_at_the_end([Outcome("a.toml", "a", "failed", "no samples")]))
        1 asset: 0 trained, 0 with nothing new, 1 failed
          a: no samples
    """
    counts = Counter(one.state for one in came)
    assets = "1 asset" if len(came) == 1 else f"{len(came)} assets"
    failed = [f"  {one.told()}" for one in came if one.state == "failed"]
    summary = (
        f"{assets}: {counts['trained']} trained, {counts['nothing new']} with nothing new, "
        f"{counts['failed']} failed"
    )
    return "\n".join([summary, *failed])


@flow(name="fleet", description="Train all assets that have something new, several at once.")
def fleet(assets: list[str] | None = None) -> str:
    """Train all assets of a site.

    Args:
        assets: asset files, ids of shipped assets, or folders of asset files; None = all that are
            scheduled on the Prefect server.

    Returns:
        How many were trained.

    Raises:
        FleetError: some were not.
    """
    files = find_asset_files(assets) if assets else scheduled_files()
    settings = Settings()
    say = get_run_logger().info
    with shown_steps(Console(stderr=True), len(files)) as advance:
        advance("training")

        def hear(outcome: Outcome) -> None:
            advance(outcome.name)
            say("%s", outcome)

        came = train_fleet(files, settings, at=datetime.now(UTC), hear=hear)
    summary = told_at_the_end(came)
    create_markdown_artifact(f"# Fleet\n\n```\n{summary}\n```\n", key="fleet")
    if any(one.state == "failed" for one in came):
        raise FleetError(summary)
    return summary
