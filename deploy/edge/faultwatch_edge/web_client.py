"""Requests to web addresses: encrypted beyond this machine, going nowhere else."""

import ssl
import urllib.request
from typing import Final

from faultwatch_edge.errors import ConfigError

PATIENCE_S: Final = 10.0
_LONGEST: Final = 200


def one_line(said: object) -> str:
    r"""What a server said, as it may be shown: a line that can be printed, and not endless.

    Example:
        >>> one_line("Too  Many\r\n \x1b[2J Requests")
        'Too Many [2J Requests'
    """
    line = " ".join(str(said)[:_LONGEST].split())
    return "".join(one for one in line if one.isprintable())


def make_opener(ca: str | None, *, option: str) -> urllib.request.OpenerDirector:
    """What opens addresses, by the proxy of the environment; redirections are not followed.

    Args:
        ca: file of the certificate authority to trust; None = those that the device trusts.
        option: of the configuration, which named the file.

    Raises:
        ConfigError: the file cannot be used.
    """
    try:
        context = ssl.create_default_context(cafile=ca)
    except OSError as error:  # ssl.SSLError is an OSError
        raise ConfigError(f"{option} cannot be used ({error}), expected a PEM file") from error
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(context=context),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    return opener
