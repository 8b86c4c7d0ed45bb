import pytest

from faultwatch_edge.bundle import Bundle
from features.channels import Channel
from features.grid import WindowConfig
from features.source import SourceConfig
from pipelines.config import AssetConfig, AssetInfo
from pipelines.evaluate import check_channels
from pipelines.registry import RegistryError


def asset_of(*names: str) -> AssetConfig:
    return AssetConfig(
        asset=AssetInfo(id="pump_07"),
        source=SourceConfig(files="none"),
        channel=tuple(Channel(name=name) for name in names),
        window=WindowConfig(sample_period_s=1_800.0, length=2),
    )


def test_a_bundle_of_the_asset_s_channels_is_judged(bundle: Bundle) -> None:
    check_channels(asset_of("a", "b"), bundle)


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (("a", "c"), "channels of version 1 and of the asset file differ in b, c; train again"),
        (("b", "a"), "channels of version 1 and of the asset file are in another order"),
    ],
)
def test_a_bundle_of_other_channels_is_refused_in_a_sentence(
    bundle: Bundle, names: tuple[str, ...], reason: str
) -> None:
    with pytest.raises(RegistryError, match=reason):
        check_channels(asset_of(*names), bundle)
