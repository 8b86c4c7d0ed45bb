"""Whom MLflow lets in: devices only follow an alias and fetch its bundle; who moves an alias.

Runs in the MLflow server, which calls it for every request (``accounts.py`` names it).
"""

import os
from collections.abc import Callable
from typing import Any

from flask import Response, request  # comes with mlflow
from mlflow.protos.model_registry_pb2 import (
    CreateModelVersion,
    DeleteModelVersionTag,
    DeleteRegisteredModelAlias,
    SetModelVersionTag,
    SetRegisteredModelAlias,
)
from mlflow.server.auth import authenticate_request_basic_auth, make_forbidden_response
from mlflow.server.handlers import _get_request_message
from werkzeug.datastructures import Authorization

from pipelines.accounts import ADMIN, DEVICES, RELEASE, RELEASE_ALONE
from pipelines.aliases import BUNDLE_SHA256_TAG, BUNDLE_TAG, CHALLENGER, gives_to_devices

READABLE = {"/api/2.0/mlflow/registered-models/alias", "/model-versions/get-artifact"}
"""What ``faultwatch_edge.registry`` asks for.

Reading alone would not do: MLflow lets whoever may read make models of names that are not yet
taken, and change the password that all devices share.
"""
ALIASES = {"POST": SetRegisteredModelAlias, "DELETE": DeleteRegisteredModelAlias}
TAGS = {
    ("POST", "model-versions/set-tag"): SetModelVersionTag,
    ("DELETE", "model-versions/delete-tag"): DeleteModelVersionTag,
}

GONE = {"model-versions/delete", "registered-models/delete", "registered-models/rename"}
"""A champion that is gone would make the one before it the champion again."""
SAYS_WHICH = {BUNDLE_TAG, BUNDLE_SHA256_TAG}
"""Written when a version is made; a champion that has another would count as gone."""


def authenticate() -> Authorization | Response:
    """Who asks, or the answer that refuses."""
    found: Authorization | Response = authenticate_request_basic_auth()
    if isinstance(found, Response) or _may(str(found.username)):
        return found
    refused: Response = make_forbidden_response()
    return refused


def _may(username: str) -> bool:
    if username == DEVICES:
        return request.method == "GET" and request.path in READABLE
    if RELEASE_ALONE in os.environ and username not in {ADMIN, RELEASE}:
        return not _promotes()
    return True


def _promotes() -> bool:
    """Whether a request would change what devices run; it is read as MLflow's handlers read it."""
    name = request.path.rpartition("/mlflow/")[2]
    if name == "registered-models/alias" and request.method in ALIASES:
        return bool(_message(ALIASES[request.method]).alias != CHALLENGER)
    if (request.method, name) in TAGS:
        key = _message(TAGS[request.method, name]).key
        return key in SAYS_WHICH or gives_to_devices(key)
    if name == "model-versions/create":
        return any(gives_to_devices(tag.key) for tag in _message(CreateModelVersion).tags)
    return name in GONE


def _message(kind: Callable[[], Any]) -> Any:  # noqa: ANN401 - fields of generated classes
    return _get_request_message(kind())  # type: ignore[no-untyped-call]  # MLflow gives it no types
