"""Whom MLflow lets in: the devices' account may follow an alias and fetch its bundle, no more.

Runs in the MLflow server, which calls it for every request (``accounts.py`` names it).
"""

from flask import Response, request  # comes with mlflow
from mlflow.server.auth import authenticate_request_basic_auth, make_forbidden_response
from werkzeug.datastructures import Authorization

from pipelines.accounts import DEVICES

READABLE = {"/api/2.0/mlflow/registered-models/alias", "/model-versions/get-artifact"}
"""What ``faultwatch_edge.registry`` asks for.

Reading alone would not do: MLflow lets whoever may read make models of names that are not yet
taken, and change the password that all devices share.
"""


def authenticate() -> Authorization | Response:
    """Who asks, or the answer that refuses."""
    found: Authorization | Response = authenticate_request_basic_auth()
    if isinstance(found, Response) or found.username != DEVICES:
        return found
    if request.method == "GET" and request.path in READABLE:
        return found
    refused: Response = make_forbidden_response()
    return refused
