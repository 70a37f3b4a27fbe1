"""The trials that Ray runs, as the study sees them: proposed, reported, pruned, ended.

Proposing, ending and resuming act on the Optuna study alone, which survives the driver; what is
kept here is what can be lost with it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import optuna
from optuna.trial import FrozenTrial, TrialState

from results.analysis.pareto import cost_value
from results.records import file_names
from search.cluster.liveness import Liveness
from search.cluster.placement import NOTHING, Bundle, trial_bundle
from search.cluster.retry_policy import LARGER_SHARE, MOST_FAILURES_WITHOUT_EPOCH, RetryPolicy
from search.config.schema import StudyConfig
from search.config.trial import TrialConfig
from search.interfaces.messages import TrialJob, TrialReport
from search.interfaces.observers import Observer, OwnPipelines, Pipeline, Placer
from search.process.memory import OUT_OF_MEMORY
from search.process.resources import WorkerResources
from search.process.stop import Stop
from search.storage.database import study_trouble
from search.storage.files import trial_folder
from search.storage.journal import together
from search.storage.mirror import place_in_store
from search.storage.retry import StorageRetry, StorageTroubleError, check_present
from search.study import attributes
from search.study.attributes import derive_seed
from search.study.endings import Endings, known_of, note
from search.study.live_trial import LiveTrial
from search.study.opening import free_journal, mend_journal, started_trials
from search.study.proposer import Proposer
from search.study.queue import TrialQueue
from search.study.retention import Retention
from search.study.samplers import make_pareto_pruner
from search.study.screening import share_of

T = TypeVar("T")


class TrialManager:
    """The study's side of every trial that Ray runs.

    What the storage refuses is tried again for ``storage_patience_minutes``; after that the manager
    asks for the run's end and :attr:`trouble` says why.

    Args:
        study: The opened study.
        config: The study's config.
        store_path: The prepared data, handed to the workers.
        capacity: Returns how many trials the cluster has room for now.
        observer: Told of starts, epochs and ends.
        stop: The run's end: asked for by the clock, by signals, or here.
        num_classes: Classes of the data, for predictions; None: as the config says.
        placer: Decides what each trial reserves. None: as the config's numbers say.
        keep: Called after every change, with whether it must outlast this machine before the run
            goes on: of a study in an object store, it pushes the changes.
        pipeline: Where trials get their images from. None: each has a pipeline of its own.
        idle: Called, again and again, while a slot has nothing left to train.
        folds: The prepared data of each fold, where trials are trained on several.
    """

    def __init__(
        self,
        study: optuna.Study,
        config: StudyConfig,
        store_path: Path,
        capacity: Callable[[], int],
        observer: Observer,
        stop: Stop | None = None,
        num_classes: int | None = None,
        placer: Placer | None = None,
        keep: Callable[[bool], None] | None = None,
        pipeline: Pipeline | None = None,
        idle: Callable[[], None] = lambda: None,
        folds: tuple[Path, ...] = (),
    ) -> None:
        self.study = study
        self.config = config
        self.store_path = store_path
        self.observer = observer
        self.stop = stop or Stop()
        self.trouble: str | None = None
        self.pipeline = pipeline or OwnPipelines()
        self._capacity = capacity
        self._idle = idle
        self._folds = folds
        self._placer = placer
        self._liveness = Liveness(
            config.resources.trial_timeout_minutes,
            placer.processors if placer is not None else frozenset,
        )
        self._policy = RetryPolicy(config.resources.max_failures)
        self._keep = keep
        self._live: dict[str, LiveTrial] = {}
        self._storage_retry = StorageRetry(
            config.directory,
            60 * config.resources.storage_patience_minutes,
            observer.warn,
            self._mend,
            lambda: self.stop.asked,
            study_trouble,
        )
        self.proposer = Proposer(study, config, num_classes, placer)
        self._pareto = make_pareto_pruner(config)
        self._endings = Endings(study, config)
        self._retention = Retention(
            config, [trial for trial in started_trials(study) if trial.state.is_finished()]
        )
        self._queue = TrialQueue(study, config, self.proposer, self._settle)
        self._queue.adopt(held=())
        self._failed_without_epoch = 0
        self._any_epoch = False
        # Whether the first trials of this run all failed without a single epoch: then it is not
        # their parameters, and the budget is better kept.
        self.no_progress = False

    @property
    def exhausted(self) -> bool:
        """Whether no further trial will be proposed."""
        if self.no_progress or self.stop.asked:
            return True
        # A trial that runs may lose its worker, and has to be handed out again.
        if self._queue.waiting or self._live:
            return False
        return self._queue.all_begun

    @property
    def live(self) -> int:
        return len(self._live)

    def propose(self, ray_id: str) -> TrialJob | None:
        """Adopt an interrupted trial or ask the study for a new one.

        None while there is no room, or where there will be none: see ``exhausted``.

        Returns:
            All that a worker needs to train it.
        """
        if len(self._live) >= self._capacity():
            return None
        # A worker begins in the trial's folder: its number must not be given again.
        job = self._try(lambda: self._propose(ray_id), durable=True)
        self._remove_unneeded()
        if job is None and self._queue.all_begun:
            self._idle()
        return job

    def _propose(self, ray_id: str) -> TrialJob | None:
        trial = self._queue.next()
        if trial is None:
            return None
        seed = derive_seed(self.config.study.seed, trial.number)
        note(trial, {attributes.SEED: seed, attributes.RESERVED: share_of(self.config.resources)})
        self._endings.mirror(trial)
        constants = self.config.at(trial.params, seed)
        self._live[ray_id] = LiveTrial(trial, constants)
        self.observer.trial_started(
            trial.number, trial.params, trial.user_attrs.get(attributes.BASELINE)
        )
        bundle = self._place(ray_id, constants, trial.user_attrs.get(attributes.SHARE, 1.0))
        owner = f"{self.stop.run_id}/{ray_id}"
        return TrialJob(
            number=trial.number,
            folder=trial_folder(self.config.directory, trial.number),
            store=self.store_path,
            owner=owner,
            config=constants,
            resources=WorkerResources.of(self.config.resources, bundle.get("GPU", 0)),
            bundle=bundle,
            pipeline=self.pipeline.of_trial(constants.augment, owner),
            remote=place_in_store(self.config, trial.number),
            folds=self._folds,
        )

    def _place(self, ray_id: str, constants: TrialConfig, factor: float) -> Bundle:
        if self._placer is None:
            return trial_bundle(self.config.resources, NOTHING, (), factor)
        return self._placer.place(ray_id, constants, factor)

    def seen(self, ray_id: str) -> None:
        """Note a sign of life of a trial's worker."""
        if ray_id in self._live:
            self._liveness.seen(ray_id)

    def overdue(self) -> list[str]:
        """Note and return the trials (Ray's names) whose workers hang: these are to be killed."""
        found = []
        for ray_id, live in self._live.items():
            folder = trial_folder(self.config.directory, live.trial.number)
            if problem := self._liveness.problem(ray_id, folder):
                live.lost = problem
                self._liveness.forget(ray_id)
                found.append(ray_id)
        return found

    def report(self, ray_id: str, report: TrialReport) -> bool:
        """Report epochs to the study.

        Args:
            ray_id: Ray's name of the trial.
            report: What its worker reports.

        Returns:
            Whether the trial is to be stopped here: by the pruner, or since the run ends.
        """
        live = self._live.get(ray_id)
        if live is None:
            return False
        self.seen(ray_id)
        if report.waiting is not None:
            return self._wait(live, report.waiting)
        if not report.epochs:
            return False
        self._hear(ray_id, live, report)
        pruned = self._try(lambda: self._report(live, report), urgent=False)
        if pruned:
            live.pruned = True
            # The pruner counts the rung as passed from now on: a driver killed before the end is
            # told must not let the trial train on to the next one.
            self._try(lambda: note(live.trial, {**known_of(live), attributes.STOPPED: True}))
        return bool(pruned or live.broken) or self.stop.asked

    def _hear(self, ray_id: str, live: LiveTrial, report: TrialReport) -> None:
        """Pass a trial's last epoch on to all that follow it."""
        epoch, best = report.epochs[-1], report.best
        live.waiting = live.waits_for = None
        self._any_epoch = True
        live.epochs = epoch.epoch
        live.best_value, live.best_epoch = best and best.objective, best and best.epoch
        self.observer.epoch_ended(live.trial.number, epoch)
        self.pipeline.epoch_ended(epoch)
        self._liveness.count(ray_id, epoch)
        if self._placer is not None:
            self._placer.learn(live.config, epoch)

    def _report(self, live: LiveTrial, report: TrialReport) -> bool:
        self._note_cost(live, report)
        if not live.reported:
            frozen = self.study._storage.get_trial(live.trial._trial_id)
            live.reported = set(frozen.intermediate_values)
        # Optuna takes no steps of a study of several objectives.
        for epoch in () if self.config.search.minimize else report.epochs:
            value = epoch.pruning_value
            # Steps from before an interruption are in the study already, or were lost on the way.
            if epoch.epoch not in live.reported and value is not None and math.isfinite(value):
                live.trial.report(value, epoch.epoch)
                live.reported.add(epoch.epoch)
        if live.broken:
            return False
        if report.done:  # the end of the training, not of the trial's worth
            return False
        # Asked of baselines, too: the pruner keeps what it is asked about, to judge others by.
        stops = self._is_stopped(live, report)
        known = live.trial.user_attrs
        spared = attributes.BASELINE in known and not self.config.search.prune_baselines
        # The mean of a config's trainings is of whole ones.
        return stops and not spared and attributes.REPEAT_OF not in known

    def _is_stopped(self, live: LiveTrial, report: TrialReport) -> bool:
        """Ask the pruner about a trial's last epoch."""
        if not self.config.search.minimize:
            return bool(live.trial.should_prune()) if live.reported else False
        epoch, cost = report.epochs[-1], live.trial.user_attrs.get(attributes.COST)
        value = epoch.pruning_value
        if self._pareto is None or cost is None or value is None or not math.isfinite(value):
            return False
        costs = [-cost_value(name, cost) for name in self.config.search.minimize]
        frozen = self.study._storage.get_trial(live.trial._trial_id)
        return self._pareto.stops(self.study, frozen, epoch.epoch, [value, *costs])

    def _note_cost(self, live: LiveTrial, report: TrialReport) -> None:
        # What was measured before an interruption stands, so that a trial is measured once.
        if report.costs is not None and attributes.COST not in live.trial.user_attrs:
            live.trial.set_user_attr(attributes.COST, dict(report.costs))
        live.broken = self.proposer.measured(live.trial)
        note(live.trial, {attributes.LIMIT: live.broken or None})

    def _wait(self, live: LiveTrial, trouble: str) -> bool:
        """Take note of a worker that cannot write; give it up when patience has run out."""
        now = time.monotonic()
        live.waiting = live.waiting or now
        if trouble != live.waits_for:
            live.waits_for = trouble
            self.observer.warn(f"trial {live.trial.number} waits: {trouble}")
        # Where the storage ails, the run waits here; where only that node does, it may go on.
        self._try(lambda: self._endings.mirror(live.trial), urgent=False)
        if now - live.waiting > 60 * self.config.resources.storage_patience_minutes:
            live.lost = trouble
            return True
        return self.stop.asked

    def note_lost(self, ray_id: str, reason: str, recycled: bool = False) -> None:
        """Note that Ray has lost a trial's worker; :meth:`finish` decides what becomes of it.

        Args:
            ray_id: Ray's name of the trial.
            reason: Why, as far as Ray knows.
            recycled: Whether the worker gave way to a fresh one: no failure of the trial.
        """
        live = self._live.get(ray_id)
        if live is None:
            return
        live.recycled = recycled
        if reason.startswith(OUT_OF_MEMORY):
            live.reason = reason
        else:
            live.lost = live.lost or reason

    def finish(self, ray_id: str, report: TrialReport | None, error: bool) -> None:
        """Tell the study how a trial ended, or hand it out again; one merely stopped stays RUNNING.

        A trial that lost its worker goes on elsewhere from its last epoch, ``max_failures`` times
        in a row without a finished epoch; then it is FAIL.
        """
        live = self._live.get(ray_id)
        if live is None:
            return
        report = report or TrialReport()
        if report.done and not live.pruned and not error:
            self.report(ray_id, report)  # Tune keeps a trial's last result from the scheduler.
        # What follows an end is a proposal, which waits for the disk; nothing follows the last.
        last = len(self._live) == 1
        self._try(lambda: self._end(live, report, error), durable=last)
        if last:
            self._remove_unneeded()
        del self._live[ray_id]
        self._liveness.forget(ray_id)
        if self._placer is not None:
            self._placer.free(ray_id)

    def _end(self, live: LiveTrial, report: TrialReport, error: bool) -> None:
        live.reason = live.reason or report.failed
        if error and not live.reason:
            live.lost = live.lost or "its worker ended"
        if live.recycled or self._goes_on(live) or self._grows(live):
            self._queue.again(live.trial)
            return
        ended = self._endings.end(live, report.done)
        if ended is None:
            return
        frozen, state = ended
        self._ended(frozen)
        self._failed_without_epoch += state is TrialState.FAIL and not live.epochs
        enough = max(MOST_FAILURES_WITHOUT_EPOCH, self._capacity())
        self.no_progress = not self._any_epoch and self._failed_without_epoch >= enough

    def _ended(self, frozen: FrozenTrial) -> None:
        self.proposer.ended(frozen)
        self.observer.trial_ended(frozen)
        self._retention.ended(frozen)

    def _remove_unneeded(self) -> None:
        """Remove what ended trials have left; after a write that is on the disk, as their ends
        are.
        """
        if not self.trouble and not self.stop.superseded:
            self._retention.remove()

    def _settle(self, frozen: FrozenTrial) -> bool:
        """Tell the end of a trial that its driver had decided and was killed before telling."""
        settled = self._endings.settle(frozen)
        if settled is not None:
            self._ended(settled)
        return settled is not None

    def _goes_on(self, live: LiveTrial) -> bool:
        """Count a lost worker in the study; return whether the trial may have another one."""
        if live.lost is None:
            return False
        steps = self.study._storage.get_trial(live.trial._trial_id).intermediate_values
        epoch = max([live.epochs, *steps])
        if live.failures is None:
            before = live.trial.user_attrs.get(attributes.FAILURES, [])
            live.failures = [*before, {"epoch": epoch, "reason": live.lost}]
        live.trial.set_user_attr(attributes.FAILURES, live.failures)
        self._endings.mirror(live.trial)
        in_a_row = sum(1 for failure in live.failures if failure["epoch"] == epoch)
        goes_on, said = self._policy.after_loss(live.lost, epoch, in_a_row)
        if goes_on:
            self.observer.warn(f"trial {live.trial.number}: {said}")
        else:
            live.reason = said
        return goes_on

    def _grows(self, live: LiveTrial) -> bool:
        """Let a trial that ran out of memory try once more with a larger share, if it may help."""
        can_grow = self._placer is not None and self._placer.can_grow(live.config)
        if not can_grow or not self._policy.may_grow(
            live.reason, attributes.SHARE in live.trial.user_attrs
        ):
            return False
        live.trial.set_user_attr(attributes.SHARE, LARGER_SHARE)
        self.observer.warn(
            f"trial {live.trial.number}: {live.reason}; once more with a larger share"
        )
        return True

    def _try(self, action: Callable[[], T], durable: bool = False, urgent: bool = True) -> T | None:
        """Do what writes to the storage, patiently; None where that ends the run."""
        if self.trouble or self.stop.superseded:
            return None

        def checked() -> T:
            check_present(self.config.directory)
            with together(self.study, durable):
                return action()

        try:
            result = self._storage_retry(checked)
            keep = self._keep
            if keep is not None:
                self._storage_retry(lambda: keep(urgent))
            return result
        except StorageTroubleError as error:
            self.trouble = str(error)
            self.stop.ask(self.trouble)
            return None

    def _mend(self) -> None:
        """Bring the storage to order after it refused to be written, before trying again."""
        check_present(self.config.directory)
        if self.config.study.storage is None:
            free_journal(self.config.directory)
            mend_journal(self.config.directory / file_names.JOURNAL)
        self._queue.adopt({live.trial._trial_id for live in self._live.values()})
