"""What a registry's alias means, mirrored into a folder: MLflow's REST, with the standard library.

The folder holds one file: the bundle that the alias stands for. Whatever comes from the network is
only bytes until the bundle's own signature has been checked (``renewal.py``).
"""

import base64
import hashlib
import json
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from threading import Event, Thread
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import urlencode

from faultwatch_edge.bundle import LARGEST_FILE
from faultwatch_edge.config import RegistryConfig
from faultwatch_edge.errors import SourceError
from faultwatch_edge.slots import keep_file, parse_name
from faultwatch_edge.web_client import PATIENCE_S, make_opener, one_line

_LARGEST_ANSWER: Final = 1024 * 1024
_ALIAS: Final = "/api/2.0/mlflow/registered-models/alias"
_FILE: Final = "/model-versions/get-artifact"


class RegistryMirror:
    """Keeps a folder as an alias says; looks now and then in a thread while it is open.

    Args:
        config: where the registry is, and which alias counts.
        password: of ``config.username``; None = none.
        folders: by asset, which is the registered model's name.
        note: takes a sentence for whoever looks at the log.

    Raises:
        ConfigError: the certificate authority's file cannot be used.
    """

    def __init__(
        self,
        config: RegistryConfig,
        *,
        password: str | None,
        folders: Mapping[str, Path],
        note: Callable[[str], None],
    ) -> None:
        self._config, self._folders, self._note = config, folders, note
        self._opener = make_opener(config.ca, option="registry.ca")
        self._headers: dict[str, str] = {}
        if config.username is not None:
            pair = f"{config.username}:{password or ''}".encode()
            self._headers["Authorization"] = f"Basic {base64.b64encode(pair).decode()}"
        self._said: dict[str, str] = {}
        self._closing = Event()
        self._thread = Thread(target=self._look_on, name="registry", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._closing.set()
        self._thread.join(PATIENCE_S + 1)

    def fetch(self, asset: str) -> None:
        """Make an asset's folder what the alias says now.

        Raises:
            SourceError: the registry cannot be reached, or does not say what is needed.
            SpoolError: the file cannot be written.
        """
        version = self._version(asset)
        tags = _tags(version)
        name, folder = tags.get("bundle", ""), self._folders[asset]
        number = str(version.get("version"))
        if parse_name(name) != (asset, int(number) if number.isdecimal() else -1) or "/" in name:
            raise SourceError(
                f"{asset}: version {number[:20]!r} in the registry is of bundle {name[:80]!r}, "
                f"expected {asset}-VERSION.fwb; train it again"
            )
        signed = tags.get("released_sha256")
        path = name if signed is None else f"released/{name}"  # signed anew when it was promoted
        sha256 = tags.get("bundle_sha256", "") if signed is None else signed
        if not _is(folder / name, sha256):
            query = urlencode({"name": asset, "version": number, "path": path})
            data = self._get(f"{_FILE}?{query}", most=LARGEST_FILE)
            if hashlib.sha256(data).hexdigest() != sha256:
                raise SourceError(f"{name}: what the registry sent is not what was registered")
            folder.mkdir(parents=True, exist_ok=True)
            keep_file(folder, name, data)
        for other in folder.glob("*.fwb"):
            if other.name != name:
                other.unlink(missing_ok=True)

    def _look_on(self) -> None:
        while not self._closing.wait(self._config.every_s):
            for asset in self._folders:
                try:
                    self.fetch(asset)
                    self._said.pop(asset, None)
                except Exception as error:  # noqa: BLE001 - the thread must not end by one answer
                    self._say(asset, str(error))

    def _say(self, asset: str, sentence: str) -> None:
        """A sentence, once until another is said."""
        if self._said.get(asset) != sentence:
            self._said[asset] = sentence
            self._note(f"{sentence}; tried again")

    def _version(self, asset: str) -> Mapping[str, Any]:
        query = urlencode({"name": asset, "alias": self._config.alias})
        answer = self._get(f"{_ALIAS}?{query}", most=_LARGEST_ANSWER)
        with suppress(ValueError, RecursionError):
            document = json.loads(answer)
            found = document.get("model_version") if isinstance(document, dict) else None
            if isinstance(found, dict):
                return found
        raise SourceError(f"{self._config.address} does not answer as MLflow does")

    def _get(self, path: str, *, most: int) -> bytes:
        url = f"{self._config.address.rstrip('/')}{path}"
        request = urllib.request.Request(url, headers=self._headers)  # noqa: S310 - http or https, by the configuration
        try:
            with self._opener.open(request, timeout=PATIENCE_S) as answer:
                data: bytes = answer.read(most + 1)
        except urllib.error.HTTPError as error:
            with error:
                told = _message(error)
            raise SourceError(f"{self._where(path)} answers {error.code} {told}") from error
        except (OSError, HTTPException, ValueError) as error:
            raise SourceError(
                f"{self._where(path)} cannot be reached ({one_line(error)})"
            ) from error
        if len(data) > most:
            raise SourceError(f"{self._where(path)} sends more than {most} bytes")
        return data

    def _where(self, path: str) -> str:
        return f"the registry ({self._config.address}{path.partition('?')[0]})"


def _tags(version: Mapping[str, Any]) -> dict[str, str]:
    tags = version.get("tags")
    pairs = [one for one in tags if isinstance(one, dict)] if isinstance(tags, list) else []
    return {str(one.get("key")): str(one.get("value")) for one in pairs}


def _message(error: urllib.error.HTTPError) -> str:
    """What the registry says of it, in a line."""
    with suppress(OSError, HTTPException, ValueError, RecursionError):
        document = json.loads(error.read(_LARGEST_ANSWER))
        said = document.get("message") if isinstance(document, dict) else None
        if isinstance(said, str):
            return one_line(said)
    return one_line(error.reason)


def _is(file: Path, sha256: str) -> bool:
    """Whether a file is there and has that checksum."""
    with suppress(OSError):
        return hashlib.sha256(file.read_bytes()).hexdigest() == sha256
    return False
