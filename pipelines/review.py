"""What a person reviews of a challenger, beside the champion: figures, tables, sentences."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import polars as pl

from faultwatch_edge.bundle import Bundle
from features.windows import Windows
from pipelines.candidate import Candidate
from pipelines.channel_drift import ChannelDrift, measure_drift
from pipelines.config import AssetConfig
from pipelines.costs import cost_metrics
from pipelines.historian import Historian
from pipelines.history import History
from pipelines.recent_alarms import CHALLENGER, CHAMPION, RecentAlarms, find_recent_alarms
from pipelines.verdict import Scorecard, describe, run_metrics, tables_of


@dataclass(frozen=True)
class Champion:
    """The champion, judged on the challenger's held-out running."""

    bundle: Bundle
    taught: tuple[datetime, datetime] | None
    """First and last time of what it learned from; None = not noted."""
    card: Scorecard


@dataclass(frozen=True)
class Review:
    """All that the run of a training shows of its challenger."""

    challenger: Candidate
    cards: tuple[Scorecard, ...]
    """The challenger's, then those of its rivals."""
    why: str
    """Why it is not the asset's own detector; '' = it is."""
    champion: Champion | None
    """None = there is none of the same channels."""
    alarms: RecentAlarms
    drift: ChannelDrift | None
    """None = what the champion learned from is not known."""
    seconds: Mapping[str, float]
    """Of each part of the training."""

    @property
    def _champion_card(self) -> Scorecard | None:
        return self.champion.card if self.champion else None

    def metrics(self, recent: Windows) -> dict[str, float]:
        """Figures under the names that MLflow shows.

        Args:
            recent: the graph is timed on them.
        """
        bundle, size_bytes = self.challenger.bundle, self.challenger.path.stat().st_size
        return {
            **run_metrics(self.cards, bundle.certificate, self._champion_card),
            **cost_metrics(self.seconds, bundle, size_bytes, recent),
        }

    def tables(self) -> dict[str, pl.DataFrame]:
        """By name."""
        certificate = self.challenger.bundle.certificate
        beside = [self._champion_card] if self._champion_card else []
        theirs = self.champion.bundle.certificate if self.champion else None
        return {
            **tables_of([self.cards[0], *beside, *self.cards[1:]], certificate, theirs),
            "recent_alarms": self.alarms.table(),
            **({"drift": self.drift.table()} if self.drift else {}),
        }

    def note(self) -> str:
        """Better or not than the champion and the rivals, as Markdown."""
        verdict = describe(self.cards, self._champion_card)
        drift = "" if self.drift is None else self.drift.sentence()
        return "\n\n".join(filter(None, [verdict, self.why, self.alarms.sentence(), drift]))


def hold_beside(
    asset: AssetConfig,
    historian: Historian,
    history: History,
    challenger: Bundle,
    champion: Champion | None,
) -> tuple[RecentAlarms, ChannelDrift | None]:
    """Hold a challenger beside the champion: alarms of the last days, and how the data moved.

    Args:
        asset: its channels.
        historian: the last days, and what taught the champion, are read from it in slices.
        history: of the challenger.
        challenger: its bundle.
        champion: of the same channels; None = there is none.
    """
    bundles = {CHALLENGER: challenger} | ({CHAMPION: champion.bundle} if champion else {})
    alarms = find_recent_alarms(asset, historian, history, bundles)
    if champion is None or champion.taught is None:
        return alarms, None
    return alarms, measure_drift(asset, historian, history, taught=champion.taught)
