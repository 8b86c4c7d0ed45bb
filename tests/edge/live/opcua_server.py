"""A real OPC UA server as a process: ``opcua_server.py PORT [CERTIFICATE KEY USER PASSWORD]``.

It does what the lines on its standard input say, each a JSON object, and answers each by a line.
"""

import asyncio
import json
import logging
import sys
from datetime import UTC, timedelta
from pathlib import Path
from typing import Any

from asyncua import ua
from asyncua.crypto.permission_rules import User, UserRole
from asyncua.server.server import Server
from asyncua.server.user_managers import UserManager
from asyncua.ua.status_codes import StatusCodes

CHANNELS = ("flow", "valve", "total")
EPOCH = ua.DateTime(1970, 1, 1, tzinfo=UTC)
ANY = ua.NodeId.from_string("i=26")
Body = dict[str, Any]


class OneUser(UserManager):
    """Knows one user, and refuses all others."""

    def __init__(self, name: str, password: str) -> None:
        self._known = name, password

    def get_user(  # type: ignore[explicit-override]  # asyncua's own name
        self,
        iserver: object,
        username: str | None = None,
        password: str | None = None,
        certificate: object = None,
    ) -> User | None:
        del iserver, certificate
        return User(role=UserRole.User) if (username, password) == self._known else None


def id_of(channel: str) -> ua.NodeId:
    return ua.NodeId.from_string(f"ns=1;s={channel}")


def status_of(found: str | int) -> ua.StatusCode:
    return ua.StatusCode(
        ua.UInt32(getattr(StatusCodes, found) if isinstance(found, str) else found)
    )


async def make_server(port: int, words: list[str]) -> Server:
    server = Server(user_manager=OneUser(*words[2:]) if words else None)
    await server.init()
    server.set_endpoint(f"opc.tcp://127.0.0.1:{port}/plant")
    await server.set_application_uri("urn:plant:server")
    if words:
        server.set_security_policy([ua.SecurityPolicyType.Basic256Sha256_SignAndEncrypt])
        await server.load_certificate(Path(words[0]))
        await server.load_private_key(Path(words[1]), format="pem")
    else:
        server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
    for channel in CHANNELS:
        await add(server, channel)
    return server


async def add(server: Server, channel: str) -> None:
    """A node of which nothing is known yet; the first good value after a bad one gives its type."""
    nothing = ua.DataValue(StatusCode=status_of("BadWaitingForInitialData"))
    node = id_of(channel)
    await server.nodes.objects.add_variable(node, channel, 0.0, datatype=ANY)
    await server.write_attribute_value(node, nothing)


async def write(server: Server, one: Body) -> None:
    """Set ``channel`` to ``value``, measured ``at`` seconds after 1970."""
    value = ua.Variant(one["value"])
    if "type" in one:
        value = ua.Variant(one["value"], ua.VariantType[one["type"]])
    at = None if one.get("at") is None else EPOCH + timedelta(seconds=one["at"])
    status = status_of(one.get("status", "Good"))
    by_source, by_server = (None, at) if one.get("by_server") else (at, None)
    written = ua.DataValue(value, status, by_source, by_server)
    await server.write_attribute_value(id_of(one["channel"]), written)


async def serve(server: Server) -> None:
    loop = asyncio.get_running_loop()
    print("ready", flush=True)  # noqa: T201 - the answer
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        order = json.loads(line)
        for one in order.get("write", []):
            await write(server, one)
        if "add" in order:
            await add(server, order["add"])
        if "delete" in order:
            await server.delete_nodes([server.get_node(id_of(order["delete"]))])
        print("done", flush=True)  # noqa: T201 - the answer


async def main(port: int, words: list[str]) -> None:
    server = await make_server(port, words)
    async with server:
        await serve(server)


if __name__ == "__main__":
    logging.disable()
    asyncio.run(main(int(sys.argv[1]), sys.argv[2:]))
