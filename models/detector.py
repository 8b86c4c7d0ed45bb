"""The detector: everything from raw engineering units to a calibrated score, in one graph."""

from collections.abc import Iterable
from typing import NamedTuple, Protocol

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from typing_extensions import override

from models.calibration import NEUTRAL, DistanceMap, PValueMap
from models.gate import RegimeGate
from models.head import EnergyHead, PcaHead, residual_means, seen_means
from models.memory import ResidualMemory
from models.normalizer import Normalizer
from models.operating_point import OperatingPoint
from models.recovery import Recovery
from models.sensors import SensorStatus
from models.single_cause import SingleCause
from models.smoothing import LIMIT, SurpriseAverages


class Reconstructor(Protocol):
    """What every reconstructor does: expect a window, from itself."""

    def __call__(
        self,
        values: Float[Tensor, "batch channel time"],
        present: Bool[Tensor, "batch channel time"],
    ) -> tuple[Float[Tensor, "batch channel time"], Float[Tensor, "batch latent"]]:
        """Expected window in standard units, and the latent behind it."""


class Calibration(NamedTuple):
    """From statistics to the score: three maps, and what averages between the first two."""

    instant: PValueMap
    smoothing: SurpriseAverages
    smoothed: PValueMap
    combined: DistanceMap


class Detection(NamedTuple):
    """What the graph returns, in the order of the contract."""

    score: Float[Tensor, " batch"]
    contribution: Float[Tensor, "batch channel"]
    sensor_status: Float[Tensor, "batch channel"]
    gate: Float[Tensor, " batch"]
    reconstruction: Float[Tensor, "batch channel time"]
    latent: Float[Tensor, "batch latent"]
    operating_point: Float[Tensor, "batch channel"]
    next_state: Float[Tensor, " state"]


class Detector(nn.Module):
    """Consecutive windows of one asset in, calibrated scores out.

    The state holds the gate's count of running cells, the memories of the residual and the
    averages of the surprise.
    """

    def __init__(
        self,
        *,
        normalizer: Normalizer,
        reconstructor: nn.Module,
        recovery: Recovery,
        memory: ResidualMemory,
        head: EnergyHead | PcaHead,
        calibration: Calibration,
        gate: RegimeGate,
        operating_point: OperatingPoint,
        sensors: SensorStatus,
        cause: SingleCause | None,
    ) -> None:
        super().__init__()
        self.normalizer = normalizer
        self.reconstructor = reconstructor
        self.recovery = recovery
        self.memory = memory
        self.head = head
        self.instant, self.smoothing, self.smoothed, self.combined = calibration
        self.gate = gate
        self.operating_point = operating_point
        self.sensors = sensors
        self.cause = cause
        self.state_size = 1 + memory.state_size + self.smoothing.state_size

    @override
    def forward(
        self, window: Float[Tensor, "batch channel time"], state: Float[Tensor, " state"]
    ) -> Detection:
        """Score consecutive windows.

        Args:
            window: engineering units, NaN = missing, in order of time.
            state: zeros at the start of a sequence, else ``next_state`` of the call before.
        """
        started, remembered, averaged = torch.split(
            state, [1, self.memory.state_size, self.smoothing.state_size]
        )
        gate, running = self.gate(window, started)
        sensor_status, believed = self.sensors(window, gate)
        values, present = self.normalizer(believed)
        reconstruction, latent = self.reconstructor(values, present)
        means = residual_means(values - reconstruction, present)
        means = self.head.fill(means, seen_means(present))
        kept = self.recovery(means)
        lasting, memory = self.memory(means[:, 0], remembered, gate, kept)
        judged, seen = torch.cat([means, lasting], dim=1), present.any(dim=2)
        statistics, contribution = self.head(judged, latent)
        surprise = self.instant(statistics)
        excess = surprise.clamp(max=LIMIT) - NEUTRAL
        averages, average = self.smoothing(excess, averaged, gate, kept)
        evidence = torch.cat([surprise, self.smoothed(averages)], dim=1)
        operating_point, distance = self.operating_point(
            torch.where(present, values, reconstruction), torch.ones_like(present)
        )
        score = self.combined(evidence.amax(dim=1), distance)
        contribution = contribution * seen.to(contribution.dtype)
        if self.cause is not None:
            cause = self.cause(judged, statistics, surprise, seen) * gate.unsqueeze(1)
            contribution = contribution * (1.0 - cause.amax(dim=1, keepdim=True) + cause)
            sensor_status = self.cause.mark(sensor_status, cause)
        return Detection(
            score=score,
            contribution=contribution,
            sensor_status=sensor_status,
            gate=gate,
            reconstruction=self.normalizer.restore(reconstruction),
            latent=latent,
            operating_point=operating_point,
            next_state=torch.cat([running, memory, average]),
        )


def initial_state(detector: Detector) -> Float[Tensor, " state"]:
    """State at the start of a sequence."""
    return torch.zeros(detector.state_size)


def score_run(detector: Detector, batches: Iterable[Float[Tensor, "_ channel time"]]) -> Detection:
    """Score the consecutive windows of one sequence, given in batches, from the initial state."""
    state = initial_state(detector)
    parts: list[Detection] = []
    with torch.no_grad():
        for batch in batches:
            parts.append(detector(batch, state))
            state = parts[-1].next_state
    names = Detection._fields[:-1]
    joined = {name: torch.cat([getattr(part, name) for part in parts]) for name in names}
    return Detection(**joined, next_state=state)
