"""Who the agent is to an OPC UA server, and by what it knows the server: X.509 files."""

from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from faultwatch_edge.config import OpcUaConfig
from faultwatch_edge.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Credentials:
    """Certificates as DER, the key as PEM."""

    uri: str
    """What the agent's certificate calls the agent."""
    certificate: bytes
    private_key: bytes
    server_certificate: bytes


def read_credentials(config: OpcUaConfig) -> Credentials:
    """Read the files of a configuration that names them all.

    Raises:
        ConfigError: one of them cannot be used.
    """
    own = _certificate("certificate", config.certificate)
    try:
        names = own.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        uri = names.get_values_for_type(x509.UniformResourceIdentifier)[0]
    except (x509.ExtensionNotFound, IndexError) as error:
        raise ConfigError(
            f"opcua.certificate '{config.certificate}' names no application, expected a URI such "
            "as urn:faultwatch-edge among its alternative names"
        ) from error
    return Credentials(
        uri,
        own.public_bytes(Encoding.DER),
        _key(config.private_key),
        _certificate("server_certificate", config.server_certificate).public_bytes(Encoding.DER),
    )


def _certificate(name: str, path: str | None) -> x509.Certificate:
    content = _content(name, path)
    try:
        if content.lstrip().startswith(b"-----BEGIN"):
            return x509.load_pem_x509_certificate(content)
        return x509.load_der_x509_certificate(content)
    except ValueError as error:
        raise ConfigError(
            f"opcua.{name} '{path}' is no certificate ({error}), expected a PEM or DER file"
        ) from error


def _key(path: str | None) -> bytes:
    content = _content("private_key", path)
    try:
        is_rsa = isinstance(load_pem_private_key(content, password=None), RSAPrivateKey)
    except (TypeError, ValueError, UnsupportedAlgorithm) as error:
        raise ConfigError(
            f"opcua.private_key '{path}' is no key ({error}), expected a PEM file without a "
            "password"
        ) from error
    if not is_rsa:
        raise ConfigError(f"opcua.private_key '{path}' is not of RSA, expected that")
    return content


def _content(name: str, path: str | None) -> bytes:
    try:
        return Path(str(path)).read_bytes()
    except OSError as error:
        raise ConfigError(
            f"opcua.{name} '{path}' cannot be read ({error.strerror}), expected a file"
        ) from error
