"""Prefect's and MLflow's databases in a PostgreSQL server: made, found again, or a sentence."""

import socket
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from pydantic import SecretStr

from faultwatch_edge.bundle import Bundle
from pipelines.connection import DatabaseError
from pipelines.registry import Registry
from pipelines.server_database import make_database
from pipelines.settings import MLFLOW_DATABASE, Settings, SettingsError
from pipelines.tracking import Runs, TrackingError

Run = Callable[..., list[tuple[Any, ...]]]
SECRET = "R8s %/@:?#' secret"  # noqa: S105 - of nobody


@pytest.fixture
def server(postgres: str, run: Run) -> Iterator[str]:
    """Address of the server for somebody who may make databases; they are removed again."""
    run(
        postgres,
        f"CREATE ROLE maker LOGIN CREATEDB PASSWORD '{SECRET.replace(chr(39), chr(39) * 2)}'",
    )
    yield address_of(postgres, "maker", SECRET)
    drop = f"DROP DATABASE IF EXISTS {MLFLOW_DATABASE} WITH (FORCE)"  # MLflow stays connected
    run(postgres, drop, "DROP ROLE maker")


def address_of(postgres: str, user: str, password: str) -> str:
    place = postgres.rpartition("@")[2].removesuffix("postgres")
    return f"postgresql://{user}:{quote(password, safe='')}@{place}"


def settings_of(address: str) -> Settings:
    return Settings(server_database=SecretStr(address))


def sentence(address: str) -> str:
    with pytest.raises((DatabaseError, SettingsError)) as caught:
        make_database(settings_of(address), MLFLOW_DATABASE)
    shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value)
    for secret in (SECRET, quote(SECRET, safe="")):
        assert secret not in shown
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_database_is_made_once_and_found_again(server: str, run: Run) -> None:
    own = settings_of(server).in_server(MLFLOW_DATABASE)
    for _ in range(2):
        make_database(settings_of(server), MLFLOW_DATABASE)
        run(own, "CREATE TABLE IF NOT EXISTS kept AS SELECT 7 AS number")
    assert run(own, "SELECT number, current_user FROM kept") == [(7, "maker")]


def test_two_who_make_it_at_once_do_not_disturb_each_other(server: str) -> None:
    with ThreadPoolExecutor(4) as pool:
        made = [pool.submit(make_database, settings_of(server), MLFLOW_DATABASE) for _ in range(4)]
    assert [one.result() for one in made] == [None] * 4


@pytest.mark.usefixtures("server")
def test_a_password_that_is_refused_is_a_sentence_without_it(postgres: str) -> None:
    said = sentence(address_of(postgres, "maker", f"not {SECRET}"))
    assert 'password authentication failed for user "maker"' in said
    assert said.endswith("; correct FAULTWATCH_SERVER_DATABASE, or see that the server runs")


def test_a_server_that_does_not_answer_is_a_sentence() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        port = nobody.getsockname()[1]
        said = sentence(f"postgresql://maker:{quote(SECRET, safe='')}@127.0.0.1:{port}/")
    assert f"cannot connect to database 'postgres' of PostgreSQL on 127.0.0.1:{port}" in said
    assert "refused" in said


def test_who_may_not_make_a_database_reads_what_an_administrator_has_to_do(
    postgres: str, server: str, run: Run
) -> None:
    run(postgres, "ALTER ROLE maker NOCREATEDB")
    said = sentence(server)
    assert f"has no database '{MLFLOW_DATABASE}', and 'maker' may not make it" in said
    run(postgres, said.rpartition(" run ")[2])
    make_database(settings_of(server), MLFLOW_DATABASE)


def test_a_database_that_lets_nobody_in_is_a_sentence(postgres: str, server: str, run: Run) -> None:
    make_database(settings_of(server), MLFLOW_DATABASE)
    run(postgres, f"ALTER DATABASE {MLFLOW_DATABASE} ALLOW_CONNECTIONS false")
    assert f"cannot connect to database '{MLFLOW_DATABASE}'" in sentence(server)


def test_the_address_may_name_the_database_that_is_asked_for_the_others(
    postgres: str, server: str, run: Run
) -> None:
    run(postgres, "CREATE DATABASE only_mine OWNER maker")
    try:
        make_database(settings_of(f"{server}only_mine"), MLFLOW_DATABASE)
        assert sentence(f"{server}nothing").count("'nothing'") == 1
    finally:
        run(postgres, "DROP DATABASE only_mine")


@pytest.mark.parametrize(
    "address",
    [
        "mysql://maker:word@127.0.0.1/",
        "postgresql:///faultwatch",
        f"postgresql://maker:{SECRET}@127.0.0.1:5432/",
        "postgresql://maker:word@127.0.0.1:port/",
        "postgresql://maker:word@127.0.0.1/?sslmode=require",
        "127.0.0.1",
    ],
)
def test_what_is_no_address_of_a_server_is_a_sentence(address: str) -> None:
    said = sentence(address)
    assert said.startswith("FAULTWATCH_SERVER_DATABASE is no address of a PostgreSQL server; write")
    assert "word@" not in said.replace("user:password@", "")


def test_what_is_registered_without_a_server_is_in_postgresql_and_object_storage(
    server: str, s3: str, bundle: Bundle, tmp_path: Path, run: Run
) -> None:
    settings = settings_of(server).model_copy(
        update={"home": tmp_path / "home", "artifacts": f"{s3}/mlflow"}
    )
    (tmp_path / "pump_07-1.fwb").write_bytes(b"a bundle")
    registry = Registry(settings, "pump_07")
    with registry.runs.start("trained", {}) as started:
        registry.register(started, tmp_path / "pump_07-1.fwb", graph=bundle.onnx, version=1)

    again = Registry(settings, "pump_07")
    file = again.download(again.version_of("challenger"), tmp_path / "download")
    assert file.read_bytes() == b"a bundle"
    sources = run(settings.in_server(MLFLOW_DATABASE), "SELECT source FROM model_versions")
    assert [source.startswith(f"{s3}/mlflow/") for (source,) in sources] == [True]
    assert list(settings.home.iterdir()) == []


def test_a_store_of_artifacts_that_is_not_there_is_a_sentence(s3: str, tmp_path: Path) -> None:
    with pytest.raises(TrackingError) as caught:
        Runs(Settings(home=tmp_path, artifacts=f"{s3}-elsewhere/mlflow"), "pump_07")
    said = str(caught.value)
    assert said.startswith(f"artifacts cannot be kept at {s3}-elsewhere/mlflow (")
    assert "bucket does not exist" in said
    assert said.endswith(
        "correct FAULTWATCH_ARTIFACTS, or the AWS_ variables that say how to reach it"
    )
    assert "\n" not in said


def test_folders_of_artifacts_hold_from_anywhere_and_addresses_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert Settings(home=Path("own")).artifacts_address == f"file://{tmp_path}/own/artifacts"
    assert Settings(artifacts="kept").artifacts_address == f"file://{tmp_path}/kept"
    assert Settings(artifacts="s3://plant/mlflow/").artifacts_address == "s3://plant/mlflow"
    with pytest.raises(
        SettingsError, match="begins with 'ftp://', which is not used; write a fold"
    ):
        _ = Settings(artifacts="ftp://plant/mlflow").artifacts_address
