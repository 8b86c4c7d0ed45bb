"""Addresses and secrets, from the environment; nothing here is ever written to a file."""

from pathlib import Path

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict


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
    tracking_uri: str | None = Field(default=None, description="Address of the MLflow server.")
    signing_key: Path | None = Field(default=None, description="Private key that signs bundles.")
    releases: Path | None = Field(
        default=None,
        description="Folder in which devices find the champion's bundle, in one named like the "
        "asset; a promotion and a roll-back change it.",
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
    def tracking_address(self) -> str:
        """MLflow address: a server, or a database file under ``home``."""
        return self.tracking_uri or f"sqlite:///{self.home.resolve()}/mlflow.db"

    @property
    def signing_key_file(self) -> Path:
        """Private key that signs bundles."""
        return self.signing_key or self.home / "keys" / "faultwatch.key"

    @property
    def public_key_file(self) -> Path:
        """Public key beside the private one."""
        return self.signing_key_file.with_suffix(".pub")


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
