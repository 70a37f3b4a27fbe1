"""TensorBoard and MLflow, by option: written by the driver, as epochs and ends are reported.

Nothing reads them back: the study and its directory hold all of it. What cannot be written is a
warning, and the search goes on.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from optuna.trial import FrozenTrial

from foundation.errors import named_line
from results.records.epochs import Epoch, epochs_in
from search.config.errors import ConfigError
from search.config.schema import StudyConfig
from search.config.settings import redacted
from search.interfaces.observers import Observer
from search.storage.epochs import TENSORBOARD, scalars, unwritten
from search.storage.files import trial_folder
from search.study import attributes

# Where a trial's MLflow run is found again.
STUDY_TAG = "flexunet_search.study"
TRIAL_TAG = "flexunet_search.trial"


class Log(Protocol):
    """The events that a log receives; it may raise what it likes."""

    name: str

    def ended(self) -> Container[int]:
        """Return the trials whose end is written."""

    def trial_started(self, number: int, params: Mapping[str, Any], baseline: str | None) -> None:
        """As :class:`search.study.trials.Observer`."""

    def epoch_ended(self, number: int, epoch: Epoch) -> None:
        """As :class:`search.study.trials.Observer`."""

    def trial_ended(self, trial: FrozenTrial) -> None:
        """As :class:`search.study.trials.Observer`."""

    def close(self) -> None:
        """Write what is left; trials that run go on in a further run."""


class LoggedObserver:
    """An observer that tells logs, too; one that fails is warned of and told no more.

    Args:
        observer: Who is told anyway.
        logs: Who is told besides.
        directory: The study directory.
    """

    def __init__(self, observer: Observer, logs: Sequence[Log], directory: Path) -> None:
        self._observer = observer
        self._logs = list(logs)
        self._directory = directory

    def study_opened(self, trials: Sequence[FrozenTrial]) -> None:
        """Tell all; the logs are brought up to the trials that have ended without them."""
        self._observer.study_opened(trials)
        finished = [trial for trial in trials if trial.state.is_finished()]
        self._tell(lambda log: self._make_up(log, finished))

    def _make_up(self, log: Log, finished: Sequence[FrozenTrial]) -> None:
        ended = log.ended()
        for trial in finished:
            if trial.number in ended:
                continue
            log.trial_started(trial.number, trial.params, trial.user_attrs.get(attributes.BASELINE))
            for epoch in epochs_in(trial_folder(self._directory, trial.number)):
                log.epoch_ended(trial.number, epoch)
            log.trial_ended(trial)

    def trial_started(self, number: int, params: Mapping[str, Any], baseline: str | None) -> None:
        self._observer.trial_started(number, params, baseline)
        self._tell(lambda log: log.trial_started(number, params, baseline))

    def epoch_ended(self, number: int, epoch: Epoch) -> None:
        self._observer.epoch_ended(number, epoch)
        self._tell(lambda log: log.epoch_ended(number, epoch))

    def trial_ended(self, trial: FrozenTrial) -> None:
        self._observer.trial_ended(trial)
        self._tell(lambda log: log.trial_ended(trial))

    def note(self, message: str) -> None:
        self._observer.note(message)

    def warn(self, message: str) -> None:
        self._observer.warn(message)

    def __enter__(self) -> Observer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._tell(lambda log: log.close())

    def _tell(self, tell: Callable[[Log], None]) -> None:
        for log in tuple(self._logs):
            try:
                tell(log)
            except Exception as error:  # whatever a server or a client library comes up with
                self._logs.remove(log)
                self.warn(
                    f"{log.name} is written no more in this run: {redacted(named_line(error))}"
                )


@contextlib.contextmanager
def logged(config: StudyConfig, observer: Observer, identity: str) -> Iterator[Observer]:
    """Give an observer the logs that the config asks for.

    Args:
        config: The study.
        observer: Who is told anyway.
        identity: What study.yaml calls the study; finds the MLflow runs of earlier runs.

    Raises:
        ConfigError: where a package that a log needs is not installed.
    """
    logs: list[Log] = []
    if config.study.tensorboard:
        logs.append(TensorBoardLog(config))
    if config.study.mlflow is not None:
        logs.append(MlflowLog(config, identity))
    with LoggedObserver(observer, logs, config.directory) as told:
        yield told


class TensorBoardLog:
    """Event files in ``<study>/tensorboard/<trial>``: scalars an epoch, hparams at the end.

    A trial that is continued begins a further file, after the last epoch that is written;
    TensorBoard shows a trial's files as one.
    """

    name = "TensorBoard"

    def __init__(self, config: StudyConfig) -> None:
        self._directory = config.directory
        self._writers: dict[int, Any] = {}
        self._epochs: dict[int, int] = {}

    def ended(self) -> set[int]:
        """Return the trials whose hparams are written."""
        return {int(path.parent.name) for path in self._directory.glob(f"{TENSORBOARD}/*/ended")}

    def trial_started(self, number: int, params: Mapping[str, Any], baseline: str | None) -> None:
        """Find the epochs that the trial's files hold."""
        self._close(number)
        self._epochs[number] = _read_number(self._folder(number) / "epoch")

    def epoch_ended(self, number: int, epoch: Epoch) -> None:
        from tensorboardX.summary import scalar

        folder = trial_folder(self._directory, number)
        for missing in unwritten(folder, self._epochs.get(number, 0), epoch):
            summaries = [scalar(name, value) for name, value in scalars(missing).items()]
            self._write(number, missing.epoch, summaries)
            self._epochs[number] = missing.epoch
            path = self._folder(number) / "epoch"
            path.write_text(str(missing.epoch), encoding="utf-8")

    def trial_ended(self, trial: FrozenTrial) -> None:
        """Write the hparams with the trial's value, and its state."""
        from tensorboardX.summary import hparams, scalar

        value = trial.user_attrs.get(attributes.BEST_VALUE)
        metrics = {} if value is None else {"hparam/objective": float(value)}
        params = {
            name: value if isinstance(value, bool | int | float | str) else str(value)
            for name, value in trial.params.items()
        }
        self._write(trial.number, 0, hparams({**params, "state": trial.state.name}, metrics))
        best = [scalar(name, number) for name, number in metrics.items()]
        self._write(trial.number, trial.user_attrs.get(attributes.BEST_EPOCH) or 0, best)
        (self._folder(trial.number) / "ended").touch()
        self._close(trial.number)

    def close(self) -> None:
        for number in tuple(self._writers):
            self._close(number)

    def _folder(self, number: int) -> Path:
        return self._directory / TENSORBOARD / f"{number:05d}"

    def _write(self, number: int, step: int, summaries: Iterable[Any]) -> None:
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import Event

        if number not in self._writers:
            folder = self._folder(number)
            folder.mkdir(parents=True, exist_ok=True)
            # Not its SummaryWriter: that one writes from a thread, which a flush does not wait
            # for, and what it says is written would be lost with a killed driver.
            files = sum(1 for _ in folder.glob("events.*"))
            self._writers[number] = EventsWriter(str(folder / "events"), f".{files}")
        writer = self._writers[number]
        for summary in summaries:
            writer.write_event(Event(wall_time=time.time(), step=step, summary=summary))
        writer.flush()

    def _close(self, number: int) -> None:
        writer = self._writers.pop(number, None)
        if writer is not None:
            writer.close()


def _read_number(path: Path) -> int:
    try:
        return int(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return 0


class MlflowLog:
    """A run a trial, under an experiment named as the study; a continued trial goes on in its run.

    A run is found again by its tags; epochs that it holds are not logged twice.
    """

    name = "MLflow"

    def __init__(self, config: StudyConfig, identity: str) -> None:
        uri = config.study.mlflow or ""
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        try:
            from mlflow import MlflowClient
        except ImportError as error:
            raise ConfigError(
                config.study.name,
                [f"study.mlflow: needs a package, {error}: pip install 'flexunet-search[mlflow]'"],
            ) from error
        if "://" not in uri or uri.startswith("file:"):
            # MLflow has stopped to develop its file store, and asks to be told that it is meant.
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        # A server that is down must not hold the search up for minutes at every epoch.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
        self._client = MlflowClient(tracking_uri=uri)
        self._config = config
        self._identity = identity
        self._experiment: str | None = None
        self._runs: dict[int, tuple[str, int]] = {}

    def ended(self) -> set[int]:
        """Return the trials whose runs have ended."""
        found: set[int] = set()
        token: str | None = None
        while True:
            runs = self._client.search_runs(
                [self._experiment_id()],
                f"tags.`{STUDY_TAG}` = '{self._identity}' AND tags.state != 'RUNNING'",
                page_token=token,
            )
            found |= {int(run.data.tags[TRIAL_TAG]) for run in runs if run.info.status != "RUNNING"}
            token = runs.token
            if not token:
                return found

    def trial_started(self, number: int, params: Mapping[str, Any], baseline: str | None) -> None:
        """Find the trial's run, or begin it with its parameters."""
        found = self._client.search_runs(
            [self._experiment_id()],
            f"tags.`{STUDY_TAG}` = '{self._identity}' AND tags.`{TRIAL_TAG}` = '{number}'",
            max_results=1,
        )
        if found:
            run = found[0]
            self._client.update_run(run.info.run_id, status="RUNNING")
            self._runs[number] = run.info.run_id, self._last_epoch(run)
            if len(run.data.params) < len(params):  # its driver was killed as it began the run
                self._log_params(run, params)
            return
        tags = {STUDY_TAG: self._identity, TRIAL_TAG: str(number), "state": "RUNNING"}
        if baseline is not None:
            tags["baseline"] = baseline
        run = self._client.create_run(
            self._experiment_id(), tags=tags, run_name=f"trial {number:05d}"
        )
        self._log_params(run, params)
        self._runs[number] = run.info.run_id, 0

    def _log_params(self, run: Any, params: Mapping[str, Any]) -> None:
        from mlflow.entities import Param

        logged = [Param(name, str(value)) for name, value in params.items()]
        self._client.log_batch(run.info.run_id, params=logged)

    def epoch_ended(self, number: int, epoch: Epoch) -> None:
        """Log an epoch's metrics, with the epoch as their step."""
        from mlflow.entities import Metric

        run, last = self._runs[number]
        for missing in unwritten(trial_folder(self._config.directory, number), last, epoch):
            now = _milliseconds(missing.time)
            metrics = [
                Metric(re.sub(r"[^\w.\- :/]", "_", name), value, now, missing.epoch)
                for name, value in scalars(missing).items()
            ]
            self._client.log_batch(run, metrics=metrics)
            self._runs[number] = run, missing.epoch

    def trial_ended(self, trial: FrozenTrial) -> None:
        """Tag the run with the trial's state, value and reason, and end it."""
        if trial.number not in self._runs:  # its end was decided before its driver was killed
            self.trial_started(
                trial.number, trial.params, trial.user_attrs.get(attributes.BASELINE)
            )
        run, _ = self._runs.pop(trial.number)
        known = {
            "state": trial.state.name,
            "folder": str(trial_folder(self._config.directory, trial.number)),
            **{
                key: trial.user_attrs.get(key)
                for key in (attributes.BEST_VALUE, attributes.BEST_EPOCH, attributes.REASON)
            },
        }
        for key, value in known.items():
            if value is not None:
                text = value if isinstance(value, str) else json.dumps(value)
                self._client.set_tag(run, key, text)
        ended = {"COMPLETE": "FINISHED", "PRUNED": "KILLED"}.get(trial.state.name, "FAILED")
        self._client.set_terminated(run, status=ended)

    def close(self) -> None:
        """Leave the runs of trials that go on later as RUNNING: so says the study of them."""

    def _experiment_id(self) -> str:
        if self._experiment is None:
            name = self._config.study.name
            found = self._client.get_experiment_by_name(name)
            self._experiment = str(
                found.experiment_id if found else self._client.create_experiment(name)
            )
        return self._experiment

    def _last_epoch(self, run: Any) -> int:
        """Return the last epoch whose metrics a run holds; the loss is logged in every one."""
        steps = [
            metric.step
            for name in ("loss/train", "learning_rate")
            for metric in self._client.get_metric_history(run.info.run_id, name)
        ]
        return max(steps, default=0)


def _milliseconds(ended: datetime | None) -> int:
    return int((time.time() if ended is None else ended.timestamp()) * 1000)
