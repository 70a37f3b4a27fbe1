"""Studies in databases: a real PostgreSQL and sqlite, by real drivers; training is simulated."""

from __future__ import annotations

import gc
import os
import signal
import socket
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.exceptions import StorageInternalError
from sqlalchemy import exc

from results.records.study import load_study
from search.config.errors import ConfigError
from search.config.loading import config_from_tree
from search.errors import TRY_AGAIN, RunError
from search.storage.database import database_trouble, open_database
from search.study.opening import open_study
from search.study.warm_start import read_earlier
from search.tuning.runner import run_study
from tests.search.managers import Log
from tests.search.nodes import Driver
from tests.search.postgres import PASSWORD, Postgres, free_port, postgres
from tests.search.simulated import SimulatedWorker
from tests.search.study.test_warm_start import CLASSES, PRINT, config_in, write_earlier
from tests.search.tiny import tiny_tree


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with postgres() as server:
        yield server


@pytest.fixture
def url_of(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], str | None]:
    def url(storage: str) -> str | None:
        if storage == "postgresql":
            return request.getfixturevalue("server").url()  # type: ignore[no-any-return]
        return f"sqlite:///{tmp_path / 'study.db'}" if storage == "sqlite" else None

    return url


def tree_of(folder: Path, source: Path, url: str | None, name: str = "tiny") -> dict[str, Any]:
    tree = tiny_tree(folder, source, sampler="random", pruner="none", num_trials=4)
    tree["train"] |= {"epochs": 6, "learning_rate": {"float": [1e-4, 1e-2], "log": True}}
    tree["study"] |= {"storage": url, "name": name}
    return tree


def end_of(study: Path) -> list[tuple[Any, ...]]:
    """All that a study's directory says of its trials' ends."""
    trials = load_study(study).trials
    return [(t.number, t.state, t.value, dict(t.params), len(t.curve), t.failures) for t in trials]


@pytest.mark.cluster
def test_every_storage_leads_to_the_same_end_and_only_the_driver_opens_it(
    ray_session: None, tmp_path: Path, synthetic_folder: Path, url_of: Callable[[str], str | None]
) -> None:
    ends = {}
    for storage in ("journal", "sqlite", "postgresql"):
        folder = tmp_path / storage
        folder.mkdir()
        tree = tree_of(folder, synthetic_folder, url_of(storage))
        # One at a time: which trial draws which parameters is then the sampler's alone.
        tree["resources"] |= {"max_concurrent": 1}
        config = config_from_tree(tree)
        assert run_study(config, Log(), worker=SimulatedWorker).states == {"COMPLETE": 4}

        ends[storage] = end_of(config.directory)
        told = open_study(config).get_trials()
        assert [t.state.name for t in told] == ["COMPLETE"] * 4
        assert [len(t.intermediate_values) for t in told] == [6] * 4
        assert (config.directory / "optuna.journal").exists() == (storage == "journal")
    assert ends["sqlite"] == ends["journal"]
    assert ends["postgresql"] == ends["journal"]


@pytest.mark.cluster
@pytest.mark.soak
def test_a_killed_driver_and_a_restarted_server_lose_nothing(
    tmp_path: Path, synthetic_folder: Path, server: Postgres
) -> None:
    tree = tree_of(tmp_path, synthetic_folder, server.url(), name="killed")
    tree["train"]["epochs"] = 12
    driver = Driver(tree, tmp_path).start(seconds=0.3)
    try:
        driver.until(lambda: sum(driver.epochs().values()) >= 6)
        assert driver.process is not None
        # Two workers train at this moment; the database knows the driver alone.
        ours = f"flexunet-search {socket.gethostname()}"  # an earlier test's may stand yet
        assert server.clients() - {f"{ours} {os.getpid()}"} == {f"{ours} {driver.process.pid}"}
        driver.send(signal.SIGKILL)
        driver.wait()
        before = driver.epochs()

        driver.start(seconds=0.3)
        driver.until(lambda: sum(driver.epochs().values()) >= sum(before.values()) + 3)
        server.stop()
        driver.until(lambda: "the study's database does not answer" in driver.text)
        server.start()
        assert driver.wait() == 0, driver.text
    finally:
        driver.end()
    assert "writing again after" in driver.text
    assert PASSWORD not in driver.text
    trials = driver.record().trials
    assert [(t.number, t.state) for t in trials] == [(n, "COMPLETE") for n in range(4)]
    told = open_study(config_from_tree(tree)).get_trials()
    for trial, frozen in zip(trials, told, strict=True):
        assert trial.curve.epoch.tolist() == list(range(1, 13))
        assert sorted(frozen.intermediate_values) == list(range(1, 13))
        assert frozen.value == trial.value
        assert trial.failures == ()
    for path in driver.study.rglob("*"):
        assert not path.is_file() or PASSWORD.encode() not in path.read_bytes(), path


def test_a_database_that_takes_nothing_ends_the_run_to_be_continued(
    server: Postgres, tmp_path: Path, synthetic_folder: Path
) -> None:
    config = config_from_tree(tree_of(tmp_path, synthetic_folder, server.url(), "read-only"))
    open_database(server.url(), "any")  # makes the tables
    server.query("ALTER DATABASE optuna SET default_transaction_read_only = on")
    try:
        with pytest.raises(RunError, match=r"read-only transaction.*same command") as caught:
            run_study(config, Log())
    finally:
        reset = "ALTER DATABASE optuna RESET default_transaction_read_only"
        server.query(reset, database="postgres")

    assert caught.value.exit_code == TRY_AGAIN
    assert PASSWORD not in str(caught.value)


@pytest.mark.soak
@pytest.mark.cluster
def test_a_killed_drivers_study_goes_on_in_sqlite(
    ray_session: None, tmp_path: Path, synthetic_folder: Path
) -> None:
    tree = tree_of(tmp_path, synthetic_folder, f"sqlite:///{tmp_path / 'study.db'}")
    tree["train"]["epochs"] = 12
    driver = Driver(tree, tmp_path).start(seconds=0.3)
    try:
        driver.until(lambda: sum(driver.epochs().values()) >= 4)
        driver.send(signal.SIGKILL)
        driver.wait()
    finally:
        driver.end()
    config = config_from_tree(tree)
    adopted = open_study(config).get_trials()
    assert adopted
    log = Log()
    assert run_study(config, log, worker=SimulatedWorker).states == {"COMPLETE": 4}
    trials = open_study(config).get_trials()
    assert {t.number for t in adopted if t.state.name == "RUNNING"} <= set(log.started)
    assert [t.params for t in trials][: len(adopted)] == [t.params for t in adopted]
    assert [sorted(t.intermediate_values) for t in trials] == [list(range(1, 13))] * 4


@pytest.mark.parametrize("in_query", [False, True], ids=["before the host", "in the query"])
def test_an_earlier_study_in_the_same_database_is_read_with_this_ones_password(
    server: Postgres, tmp_path: Path, in_query: bool
) -> None:
    url = server.url()
    if in_query:
        url = f"{url.replace(f':{PASSWORD}@', '@')}?password={PASSWORD}"
    study = {"storage": url}
    name = f"earlier-{in_query}"
    earlier = write_earlier(tmp_path, study=study | {"name": name})
    assert PASSWORD not in (earlier.directory / "study.yaml").read_text(encoding="utf-8")

    later = config_in(tmp_path, "later", study=study).learning_from([earlier.directory])
    (found,) = read_earlier(later, CLASSES, PRINT)
    gc.collect()  # a connection that is left open warns when it goes, which is an error here

    assert len(found.trials) == 5


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("password", "password authentication failed"),
        ("database", 'database "nowhere" does not exist'),
        ("port", "Connection refused"),
    ],
)
def test_a_server_that_cannot_be_used_is_said_without_the_password(
    server: Postgres, wrong: str, said: str
) -> None:
    secret = "s3cr%40t" if wrong == "password" else PASSWORD
    url = server.url(secret, "nowhere" if wrong == "database" else "optuna")
    if wrong == "port":
        url = url.replace(f":{server.port}", f":{free_port()}")
    with pytest.raises(ConfigError) as caught:
        open_database(url, "mine")

    text = "".join(traceback.format_exception(caught.value))
    assert said in str(caught.value)
    assert "study.storage: expected a database URL that can be opened, received" in text
    assert "optuna:***@127.0.0.1" in text
    assert "s3cr" not in text
    assert PASSWORD not in text


def test_a_missing_driver_is_named_with_what_brings_it() -> None:
    with pytest.raises(ConfigError, match="install its driver") as caught:
        open_database("mysql+pymysql://u:hidden@h/db", "mine")
    assert "hidden" not in str(caught.value)


def test_what_waiting_cannot_mend_is_no_trouble_but_a_defect(tmp_path: Path) -> None:
    storage = open_database(f"sqlite:///{tmp_path / 'study.db'}", "mine")
    study = optuna.create_study(storage=storage)
    storage.engine.dispose()
    (tmp_path / "study.db").write_bytes(b"not a database " * 100)

    with pytest.raises(StorageInternalError) as caught:
        study.ask()
    # The driver's own class says which it is: DatabaseError is neither of the passing ones.
    assert database_trouble(caught.value) is None
    down = exc.OperationalError("SELECT 1", {}, Exception("server closed the connection"))
    assert "server closed the connection" in (database_trouble(down) or "")


def test_workers_are_given_no_address_of_the_database(tmp_path: Path) -> None:
    config = config_from_tree(
        {"study": {"storage": f"postgresql://u:{PASSWORD}@h/db", "storage_path": str(tmp_path)}}
    )
    params = {name: d.extremes()[0] for name, d in config.space.items()}
    given = config.at(params).model_dump_json() + config.resources.model_dump_json()

    assert PASSWORD not in given
    assert "postgresql" not in given
