"""A configuration is read whole or refused with the key, what was found and what was expected."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faultwatch_edge.config import read_broker, read_config, spool_file
from faultwatch_edge.errors import BundleError, ConfigError
from faultwatch_edge.orders import Order, read_order

SHIPPED = Path(__file__).parents[2] / "deploy" / "edge" / "edge.toml"
LEAST = """
[agent]
folder = "state"
[mqtt]
[[asset]]
bundle = "pump.fwb"
topic = "plant/pump"
"""
ADDRESS = 'address = "opc.tcp://localhost:4840"\nsecurity = "none"'
OPC_UA = f"""
[agent]
folder = "state"
[opcua]
{ADDRESS}
[file]
path = "said.jsonl"
[[asset]]
bundle = "pump.fwb"
[asset.nodes]
flow = "ns=2;s=FT-101"
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "edge.toml"


def test_the_file_that_ships_is_understood() -> None:
    config = read_config(SHIPPED)
    assert config.mqtt is not None
    assert (config.mqtt.used_port, config.mqtt.username) == (8883, "edge")
    assert config.sinks == ("mqtt",)
    assert config.asset[0].keys == {"flow": "measured.FT-101"}


def test_paths_are_relative_to_the_file_and_the_rest_has_defaults(file: Path) -> None:
    file.write_text(LEAST)
    config = read_config(file)
    assert config.agent.folder == str(file.parent / "state")
    assert config.asset[0].bundle == str(file.parent / "pump.fwb")
    assert config.mqtt is not None
    assert (config.mqtt.host, config.mqtt.used_port) == ("127.0.0.1", 1883)
    assert spool_file(config).parent.is_dir()


def test_samples_may_come_from_an_opc_ua_server_alone(file: Path) -> None:
    files = 'certificate = "own.pem"\nprivate_key = "own.key"\nserver_certificate = "plant.der"'
    file.write_text(OPC_UA.replace('security = "none"', files).replace("localhost", "plant"))
    config = read_config(file)
    assert config.opcua is not None
    assert config.opcua.server_certificate == str(file.parent / "plant.der")
    assert config.asset[0].nodes == {"flow": "ns=2;s=FT-101"}
    assert config.mqtt is None
    assert config.sinks == ("file",)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[agent", "is not TOML"),
        ("", r"agent is missing"),
        ("[agent]\nfolder = 1\nasset = []", "asset is missing, expected it beside the others"),
        (
            LEAST.replace('"state"', "1"),
            "agent.folder is 1, expected",
        ),
        (
            "asset = []\n[agent]\nfolder = 'x'",
            r"asset is empty, expected at least one \[\[asset\]\]",
        ),
        (LEAST + "time_format = 'h'", r"asset\[0\].time_format is 'h', expected one of iso"),
        (LEAST + "[asset.keys]\nflow = 1", r"asset\[0\].keys.flow is 1, expected text"),
        (LEAST.replace("plant/pump", "plant/#"), "asset.topic is 'plant/#', expected a topic"),
        (LEAST.replace("plant/pump", "a{channel}"), "expected {channel} as one whole level of it"),
        (
            LEAST.replace("[mqtt]", "[mqtt]\nhost = 'plant'"),
            "mqtt.host is 'plant' without mqtt.ca, expected an enc",
        ),
        (LEAST.replace("[mqtt]", "[mqtt]\nport = 0"), "mqtt.port is 0, expected 1 to 65535"),
        (
            LEAST.replace("[mqtt]", "[mqtt]\ncertificate = 'x'"),
            "mqtt.certificate and mqtt.private_key go together",
        ),
        (
            LEAST.replace("[mqtt]", "[mqtt]\npublish = 'x/{kind}'"),
            "mqtt.publish is 'x/{kind}', expected {asset} in",
        ),
        (LEAST.replace("[mqtt]", ""), "mqtt is missing, expected the broker"),
        (LEAST.replace('topic = "plant/pump"', ""), "asset has topic and nodes, or none of them"),
        (LEAST + "nodes = {}", "asset has topic and nodes, or none of them"),
        (OPC_UA.replace('flow = "ns=2;s=FT-101"', ""), "asset.nodes is empty, expected a node"),
        (
            OPC_UA.replace("ns=2;s=FT", "FT"),
            "asset.nodes has 'FT-101' for channel 'flow', expected",
        ),
        (OPC_UA + "[asset.keys]", "asset.keys goes with asset.topic"),
        (
            OPC_UA.replace("[opcua]", "[page]").replace(ADDRESS, ""),
            "opcua is missing, expected the",
        ),
        (LEAST + f"[opcua]\n{ADDRESS}", "asset.nodes is missing, expected the nodes to read"),
        (OPC_UA.replace("[file]", "").replace("path =", "#"), "mqtt, webhook and file are missing"),
        (
            OPC_UA.replace("localhost", "plant"),
            "with opcua.security 'none', expected 'Basic256Sha2",
        ),
        (OPC_UA.replace("localhost", "a:b@localhost"), "opcua.address holds a name or password"),
        (OPC_UA.replace("localhost", "[x"), "expected opc.tcp://HOST:PORT"),
        (OPC_UA.replace("opc.tcp", "http"), "expected opc.tcp://HOST:PORT"),
        (OPC_UA.replace(":4840", ""), "'opc.tcp://localhost', expected opc.tcp://HOST:PORT"),
        (OPC_UA.replace('security = "none"', ""), "opcua.certificate is missing, expected a file"),
        (LEAST + "model = 'x'", "asset has bundle and model, or none of them, expected one of"),
        (LEAST.replace("bundle = ", "model = "), "registry is missing, expected the address from"),
        (
            LEAST.replace('bundle = "pump.fwb"', 'model = "a/b"'),
            "asset.model is 'a/b', expected the id of an asset",
        ),
        (
            LEAST + "[registry]\naddress = 'https://x'\nevery_s = 0.1",
            "registry.every_s is 0.1, expected 1 or more",
        ),
        (LEAST + "[webhook]\nurl = 'plant'", "webhook.url is 'plant', expected https://HOST/PATH"),
        (LEAST + "[webhook]\nurl = 'https://[x'", r"webhook.url is 'https://\[x', expected https"),
        (LEAST + "[webhook]\nurl = 'ftp://plant'", "webhook.url is 'ftp://plant', expected https"),
        (LEAST + "[webhook]\nurl = 'http://plant'", "expected https:// beyond this machine"),
        (LEAST + "[webhook]\nurl = 'https://a:b@x'", "holds a name or password, expected FAULT"),
    ],
)
def test_what_is_wrong_is_named(file: Path, text: str, sentence: str) -> None:
    file.write_text(text)
    with pytest.raises(ConfigError, match=sentence) as caught:
        read_config(file)
    assert str(caught.value).startswith(str(file))


def test_a_file_that_is_not_there_or_far_too_large_is_refused(file: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read_config(file)
    file.write_bytes(b"#" * 2_000_000)
    with pytest.raises(ConfigError, match="is larger than"):
        read_config(file)


def test_a_folder_that_cannot_be_made_is_refused(file: Path) -> None:
    file.write_text(LEAST.replace('"state"', '"edge.toml/state"'))
    with pytest.raises(ConfigError, match=r"agent\.folder .* cannot be made"):
        spool_file(read_config(file))


@given(st.text(max_size=80))
def test_any_text_is_a_configuration_or_a_sentence(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    file = tmp_path_factory.mktemp("config") / "edge.toml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError):
        read_config(file)


def test_a_file_with_a_broker_alone_is_read_by_the_same_rules(tmp_path: Path) -> None:
    file = tmp_path / "broker.toml"
    file.write_text('[mqtt]\nhost = "plant"\nca = "ca.pem"\n')
    found = read_broker(file, client_id="collector")
    assert (found.client_id, found.ca, found.used_port) == (
        "collector",
        str(tmp_path / "ca.pem"),
        8883,
    )
    file.write_text('[mqtt]\nclient_id = "north"\n')
    assert read_broker(file, client_id="collector").client_id == "north"
    file.write_text("[mqtt]\nport = 70000\n")
    with pytest.raises(ConfigError, match=r"mqtt\.port is 70000, expected 1 to 65535"):
        read_broker(file, client_id="collector")


def test_an_order_says_who_and_why() -> None:
    body = b'{"verb": "shelve", "by": "Kim", "reason": "new seal", "for_s": 60}'
    assert read_order(body) == Order("shelve", "Kim", "new seal", 60.0)


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"{}", "verb is missing"),
        (b'{"verb": "acknowledge", "by": " "}', "by is ' ', expected a name"),
        (b'{"verb": "acknowledge", "by": "K\\n"}', "expected a name"),
        (b'{"verb": "acknowledge", "by": "K", "for_s": 1}', "for_s goes with 'shelve'"),
        (b'{"verb": "shelve", "by": "K", "reason": "x"}', "for_s goes with 'shelve'"),
        (b'{"verb": "shelve", "by": "K", "reason": "x", "for_s": -1}', "for_s is -1, expected"),
        (b'{"verb": "take_out_of_service", "by": "K"}', "reason is empty, expected why"),
        (b'{"verb": "unshelve", "by": "K", "reason": "' + b"x" * 201 + b'"}', "reason is too long"),
        (b" " * 5_000, "has 5000 bytes, expected at most 4096"),
    ],
)
def test_an_order_that_is_none_is_refused(body: bytes, sentence: str) -> None:
    with pytest.raises(BundleError, match=sentence):
        read_order(body)


@given(st.binary(max_size=80))
def test_any_bytes_are_an_order_or_a_sentence(body: bytes) -> None:
    with pytest.raises(BundleError):
        read_order(body)
