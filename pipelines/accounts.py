"""MLflow's accounts: who may look, write, or only fetch bundles; passwords from the environment."""

import base64
import json
import secrets
from collections.abc import Mapping
from configparser import ConfigParser
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from itertools import product

from pydantic import SecretStr

from pipelines.services import HOST, StartError
from pipelines.settings import Settings

ADMIN = "faultwatch-admin"
FLOWS = "faultwatch-flows"
RELEASE = "faultwatch-release"
"""Made where its password is set; then no other account but the administrator's promotes."""
DEVICES = "faultwatch-devices"
RELEASE_ALONE = "FAULTWATCH_RELEASE_ALONE"
"""Tells the server so."""
OPTIONAL = "FAULTWATCH_MLFLOW_RELEASE_PASSWORD"
SHORTEST = 12
"""Characters of a password, by MLflow's own rule."""
ACCESS = "pipelines.device_access:authenticate"
RIGHTS = {"experiment": "EDIT", "registered_model": "EDIT", "registered_model_version": "MANAGE"}
"""Of the flows and the release, whoever made the experiment or the model."""
DATABASE = "mlflow-accounts.db"
ANSWER_S = 30
LONGEST = 500
"""Bytes of an answer that are shown."""


def has_accounts(settings: Settings) -> bool:
    """Whether the environment asks for accounts.

    Raises:
        StartError: it has some of the passwords only, or one that is too short, or the release's
            without its key.
    """
    passwords = _passwords(settings)
    if not any(passwords.values()):
        return False
    missing = [name for name, password in passwords.items() if not password and name != OPTIONAL]
    if missing:
        raise StartError(
            f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not set; "
            "set the passwords of all three accounts, or none"
        )
    if passwords[OPTIONAL] and settings.release_key is None:
        raise StartError(
            f"{OPTIONAL} is set, and FAULTWATCH_RELEASE_KEY is not: no training could promote;"
            " set it to the key that devices trust, or unset the password"
        )
    for name, password in passwords.items():
        if password and len(password) < SHORTEST:
            raise StartError(
                f"{name} has fewer than {SHORTEST} characters; set a longer one, "
                "such as `openssl rand -hex 16` makes"
            )
    return True


def _passwords(settings: Settings) -> dict[str, SecretStr | None]:
    accounts = ("admin", "flows", "devices", "release")
    fields = [f"mlflow_{account}_password" for account in accounts]
    return {f"FAULTWATCH_{field.upper()}": getattr(settings, field) for field in fields}


def server_secrets(settings: Settings) -> dict[str, str]:
    """Environment of the MLflow server that asks who is there; writes what it reads beside it.

    Neither file is open to others. The accounts are made anew at each start, so that the database
    is worth no backup, and no password stands in a file but as a hash.
    """
    home = settings.home.resolve()
    database, config = home / DATABASE, home / "auth.ini"
    for file in (database, config):
        file.touch(mode=0o600)
        file.chmod(0o600)
    parser = ConfigParser(interpolation=None)
    parser["mlflow"] = {
        "default_permission": "READ",
        "database_uri": f"sqlite:///{database}".replace("%", "%%"),
        "authorization_function": ACCESS,
        "auth_cache_ttl_seconds": "60",  # one worker: whoever is removed is forgotten at once
    }
    with config.open("w", encoding="utf-8") as file_of_config:
        parser.write(file_of_config)
    return {
        "MLFLOW_AUTH_CONFIG_PATH": str(config),
        "MLFLOW_AUTH_ADMIN_USERNAME": ADMIN,
        "MLFLOW_AUTH_ADMIN_PASSWORD": _plain(settings.mlflow_admin_password),
        "MLFLOW_BASIC_AUTH_FAIL_CLOSED": "true",
        "MLFLOW_FLASK_SERVER_SECRET_KEY": secrets.token_hex(32),
        **({RELEASE_ALONE: "1"} if settings.mlflow_release_password else {}),
    }


def client_secrets(settings: Settings) -> dict[str, str]:
    """Environment of what trains and registers."""
    return {
        "MLFLOW_TRACKING_USERNAME": FLOWS,
        "MLFLOW_TRACKING_PASSWORD": _plain(settings.mlflow_flows_password),
    }


def make_accounts(settings: Settings) -> None:
    """Make the accounts that are missing, give all of them their passwords and rights.

    Raises:
        StartError: the server does not take the administrator's password.
    """
    writing = {FLOWS: settings.mlflow_flows_password}
    if settings.mlflow_release_password:
        writing[RELEASE] = settings.mlflow_release_password
    for name, password in {**writing, DEVICES: settings.mlflow_devices_password}.items():
        account = {"username": name, "password": _plain(password)}
        update = ("PATCH", "2.0/mlflow/users/update-password", account)
        if not _done(settings, *update, unless="RESOURCE_DOES_NOT_EXIST"):
            _done(settings, "POST", "2.0/mlflow/users/create", account)
    for name, (kind, right) in product(writing, RIGHTS.items()):
        grant = {"resource_type": kind, "resource_id": "*", "permission": right}
        _done(
            settings,
            *("POST", "3.0/mlflow/users/permissions/grant", {"username": name, **grant}),
            unless="RESOURCE_ALREADY_EXISTS",
        )


def _done(
    settings: Settings,
    method: str,
    path: str,
    body: Mapping[str, str],
    *,
    unless: str | None = None,
) -> bool:
    """Ask something as the administrator.

    Args:
        settings: port and password of the server.
        method: of HTTP.
        path: behind ``/api/``.
        body: sent as JSON.
        unless: name of an error by which the server may answer instead.

    Returns:
        Whether it is done; False = that error.

    Raises:
        StartError: the server refuses, or does not answer.
    """
    pair = f"{ADMIN}:{_plain(settings.mlflow_admin_password)}".encode()
    headers = {
        "Authorization": f"Basic {base64.b64encode(pair).decode()}",
        "Content-Type": "application/json",
    }
    connection = HTTPConnection(HOST, settings.mlflow_port, timeout=ANSWER_S)
    try:
        connection.request(method, f"/api/{path}", json.dumps(body), headers)
        answer = connection.getresponse()
        said = answer.read(LONGEST).decode("utf-8", "replace")
    except (OSError, HTTPException) as error:
        raise StartError(f"MLflow does not make the accounts: {error}; see its log") from error
    finally:
        connection.close()
    if answer.status == HTTPStatus.UNAUTHORIZED:
        raise StartError(
            f"MLflow does not take FAULTWATCH_MLFLOW_ADMIN_PASSWORD for '{ADMIN}'; set the one "
            f"before it, or delete {settings.home.resolve() / DATABASE}: that makes the accounts "
            "anew"
        )
    done = answer.status < HTTPStatus.BAD_REQUEST
    if not done and (unless is None or f'"{unless}"' not in said):
        raise StartError(f"MLflow does not make the accounts: {path} answers {said}")
    return done


def _plain(password: SecretStr | None) -> str:
    return password.get_secret_value() if password else ""
