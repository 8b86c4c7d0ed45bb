"""Addresses and secrets, from the environment; nothing here is ever written to a file."""

import os
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

MLFLOW_DATABASE = "faultwatch_mlflow"
PREFECT_DATABASE = "faultwatch_prefect"
"""Names in a PostgreSQL server: two, because either has its own history of changed tables."""


class SettingsError(Exception):
    """An environment variable that cannot be used; the message says which and what is wrong."""


class Settings(BaseSettings):
    """Where things live. Each field is the environment variable ``FAULTWATCH_<FIELD>``.

    Example:
        >>> Settings(home=Path("plant")).historian_address
        'plant/historian'
    """

    model_config = SettingsConfigDict(env_prefix="FAULTWATCH_", frozen=True)

    home: Path = Field(default=Path(".faultwatch"), description="Folder for everything below.")
    historian: str | None = Field(
        default=None, description="Folder or address (`s3://bucket/folder`) of the Delta tables."
    )
    database: SecretStr | None = Field(
        default=None, description="Address of the database that [source] sql asks."
    )
    broker: Path | None = Field(
        default=None, description="TOML file that says where the MQTT broker of `collect` is."
    )
    mqtt_password: SecretStr | None = Field(
        default=None, description="Password of `collect` at that broker."
    )
    tracking_uri: str | None = Field(default=None, description="Address of the MLflow server.")
    server_database: SecretStr | None = Field(
        default=None,
        description="Address of the PostgreSQL server (`postgresql://user:password@host:5432/`) "
        "that keeps the data of Prefect and MLflow.",
    )
    artifacts: str | None = Field(
        default=None,
        description="Folder or address (`s3://bucket/folder`) of bundles and the files of runs.",
    )
    mlflow_admin_password: SecretStr | None = Field(
        default=None, description="Of MLflow's account `faultwatch-admin`; set = accounts are used."
    )
    mlflow_flows_password: SecretStr | None = Field(
        default=None, description="Of MLflow's account `faultwatch-flows`, which may write."
    )
    mlflow_devices_password: SecretStr | None = Field(
        default=None, description="Of MLflow's account `faultwatch-devices`, which fetches bundles."
    )
    mlflow_release_password: SecretStr | None = Field(
        default=None,
        description="Of MLflow's account `faultwatch-release`; set = only it may promote.",
    )
    signing_key: Path | None = Field(default=None, description="Private key that signs bundles.")
    release_key: Path | None = Field(
        default=None,
        description="Private key that signs what devices are given, where trainings must not have "
        "it; the public one lies beside it.",
    )
    releases: Path | None = Field(
        default=None,
        description="Folder in which devices find the champion's bundle, in one named like the "
        "asset; a promotion and a roll-back change it.",
    )
    engine: str = Field(
        default="threads",
        pattern=r"^(threads|ray|ray://\S+)$",
        description="What `fleet` trains on: `threads` (the cores of this machine), `ray` (Ray on "
        "this machine) or `ray://host:10001` (a Ray cluster).",
    )
    mlflow_port: int = Field(
        default=5000, ge=1, le=65535, description="Port of the MLflow server that `up` starts."
    )
    prefect_port: int = Field(
        default=4200, ge=1, le=65535, description="Port of the Prefect server that `up` starts."
    )

    @property
    def historian_address(self) -> str:
        """Folder or address of the Delta tables, one sub-folder an asset."""
        return self.historian or str(self.home / "historian")

    @property
    def absolute_historian(self) -> str:
        """The same from any folder."""
        address = self.historian_address
        return address if "://" in address else str(Path(address).resolve())

    @property
    def broker_file(self) -> Path:
        """Where the MQTT broker is, and as whom it is asked."""
        return self.broker or self.home / "broker.toml"

    @property
    def tracking_address(self) -> str:
        """MLflow address: a server, or the database that `up` serves; may hold a password."""
        return self.tracking_uri or self.registry_address

    @property
    def registry_address(self) -> str:
        """Database of MLflow: in the PostgreSQL server, or a file under ``home``."""
        if self.server_database:
            return self.in_server(MLFLOW_DATABASE, driver="postgresql+psycopg")
        return f"sqlite:///{self.home.resolve()}/mlflow.db"

    @property
    def artifacts_address(self) -> str:
        """Where bundles and the files of runs are, as an address that holds in any folder.

        Raises:
            SettingsError: it is in a store of another kind.
        """
        folder = self.artifacts or str(self.home / "artifacts")
        if "://" not in folder:
            return Path(folder).resolve().as_uri()
        if not folder.startswith("s3://"):
            raise SettingsError(
                f"FAULTWATCH_ARTIFACTS begins with '{folder.partition('://')[0]}://', which is not "
                "used; write a folder or s3://bucket/folder"
            )
        return folder.rstrip("/")

    def in_server(self, database: str | None, *, driver: str = "postgresql") -> str:
        """Address of a database in the PostgreSQL server; holds the password.

        Args:
            database: its name; None = the one that the setting names, or else `postgres`.
            driver: what the address begins with.

        Raises:
            SettingsError: the setting is no address; the message never shows it.

        Example:
            >>> settings = Settings(server_database="postgresql://plant:word@db.example:5432/")
            >>> settings.in_server("faultwatch_prefect", driver="postgresql+asyncpg")
            'postgresql+asyncpg://plant:word@db.example:5432/faultwatch_prefect'
        """
        address = self.server_database.get_secret_value() if self.server_database else ""
        try:
            parts = urlsplit(address)
            usable = parts.scheme in {"postgresql", "postgres"} and parts.hostname is not None
            usable = usable and parts.port != 0 and not (parts.query or parts.fragment)
        except ValueError:
            parts, usable = urlsplit(""), False
        if not usable:
            raise SettingsError(
                "FAULTWATCH_SERVER_DATABASE is no address of a PostgreSQL server; write "
                "postgresql://user:password@host:5432/, special characters of the password as %XX, "
                "options by their variables, such as PGSSLMODE"
            )
        path = f"/{database}" if database else parts.path.rstrip("/") or "/postgres"
        return parts._replace(scheme=driver, path=path).geturl()

    @property
    def signing_key_file(self) -> Path:
        """Private key that signs bundles."""
        return self.signing_key or self.home / "keys" / "faultwatch.key"

    @property
    def public_key_file(self) -> Path:
        """Public key beside the private one."""
        return self.signing_key_file.with_suffix(".pub")

    @property
    def keys_apart(self) -> bool:
        """Whether devices trust a key that this user cannot read: another one promotes."""
        return self.release_key is not None and not os.access(self.release_key, os.R_OK)

    @property
    def release_public_key_file(self) -> Path:
        """Public key by which devices are given what is promoted."""
        return (self.release_key or self.signing_key_file).with_suffix(".pub")


def load_settings() -> Settings:
    """Read the environment.

    Raises:
        SettingsError: a variable has a value that cannot be used.
    """
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors()[0]
        name = "FAULTWATCH_" + "_".join(str(part) for part in first["loc"]).upper()
        raise SettingsError(f"{name} is {first['input']!r}: {first['msg']}; correct it") from error
