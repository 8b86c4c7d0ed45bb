"""What a person reads about a bundle and about a run."""

from statistics import median

from faultwatch_edge.bundle import Bundle, Certificate, Manifest
from faultwatch_edge.detector import SCORE_TOLERANCE
from faultwatch_edge.snapshot import Counts

HOUR_S = 3600.0


def describe(bundle: Bundle) -> list[str]:
    """Lines that say what was checked, then what is in the bundle."""
    manifest, window = bundle.manifest, bundle.manifest.window
    windows = len(bundle.golden.score)
    channels = ", ".join(f"{c.name} [{c.unit}]" if c.unit else c.name for c in manifest.channels)
    return [
        f"signature  good, by trusted key {manifest.key_id}",
        "checksums  of every member match",
        f"contract   version {manifest.contract}",
        "graph      loads; inputs, outputs and shapes are those of the manifest",
        f"golden     {windows} windows agree within {SCORE_TOLERANCE:g}, singly and in one batch",
        "",
        f"asset      {manifest.asset_id} ({_place(manifest)})",
        f"version    {manifest.version}, made {manifest.created_at}, sha256 {bundle.sha256}",
        f"channels   {len(manifest.channels)}: {channels}",
        f"window     {window.length} cells of {window.sample_period_s:g} s, every {window.hop}",
        *_decision(manifest),
        f"certified  {_certified(bundle.certificate)}",
    ]


def summarise(counts: Counts, asset_id: str) -> str:
    """One line about a run.

    Example:
        >>> summarise(Counts(samples=3, cells=2, windows_scored=1), "pump_07")[:55]
        'pump_07: 3 samples, 2 cells, 1 windows scored, 0 not sc'
    """
    return (
        f"{asset_id}: {counts.samples} samples, {counts.cells} cells, "
        f"{counts.windows_scored} windows scored, {counts.windows_not_scored} not scored, "
        f"{counts.late} late, {counts.rejected} rejected, {counts.duplicates} duplicate values, "
        f"{counts.alarms_raised} alarms raised"
    )


def _decision(manifest: Manifest) -> list[str]:
    threshold, alarm = manifest.threshold, manifest.alarm
    low, high = threshold.interval_per_day
    beyond = ", extrapolated beyond them" if threshold.extrapolated else ""
    mode = "enabled" if alarm.enabled else "shadow: scored, not announced"
    expected = (
        f"expected {threshold.expected_per_day:g} (90 % interval {low:g} to {high:g}) "
        f"from {threshold.scored_days:g} scored days{beyond}"
    )
    delays = f"on-delay {alarm.on_delay_s:g} s, off-delay {alarm.off_delay_s:g} s"
    return [
        f"threshold  score {threshold.score:g}",
        f"budget     {threshold.false_alarms_per_day:g} false alarms a day; {expected}",
        f"alarm      {alarm.priority}, {delays}, {mode}",
    ]


def _certified(certificate: Certificate | None) -> str:
    """What is known of the smallest faults that are found."""
    if certificate is None:
        return "nothing: the bundle has no certificate.json"
    biases = [limit for limit in certificate.limits if limit.kind == "bias"]
    sizes = [limit.deviations for limit in biases if limit.deviations is not None]
    seconds = certificate.within_s
    within = f"{seconds / HOUR_S:.3g} h" if seconds >= HOUR_S else f"{seconds:.3g} s"
    if not sizes:
        return (
            f"no bias up to {certificate.largest:g} sd found within {within} "
            f"in any of {len(biases)} channels"
        )
    return (
        f"bias found within {within} in {len(sizes)} of {len(biases)} channels, the smallest at "
        f"{median(sizes):.2g} sd in the median ({min(sizes):.2g} to {max(sizes):.2g})"
    )


def _place(manifest: Manifest) -> str:
    return ", ".join(filter(None, [manifest.asset_name, manifest.site])) or "no name"
