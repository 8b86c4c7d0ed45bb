"""What a broker sends that no broker should."""

from socket import create_server

from faultwatch_edge.config import MqttConfig
from faultwatch_edge.mqtt import Connection

CONNECTED = b"\x20\x03\x00\x00\x00"
LARGEST = b"\x32\xff\xff\xff\x7f"  # a message of as many bytes as MQTT knows


def test_a_packet_that_is_larger_than_the_broker_was_told_is_not_waited_for() -> None:
    said: list[str] = []
    with create_server(("127.0.0.1", 0)) as server:
        config = MqttConfig(port=server.getsockname()[1])
        connection = Connection(
            config, password=None, filters=["plant/pump"], will=("w", ""), note=said.append
        )
        with connection:
            broker, _ = server.accept()
            with broker:
                broker.sendall(CONNECTED + LARGEST)
                while broker.recv(4096):
                    pass
    assert said == ["the broker sends 268435455 bytes, expected at most 263168"]
