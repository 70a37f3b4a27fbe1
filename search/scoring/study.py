"""The models of a study that a report shows, scored: the incumbent's and the baselines'."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from data_pipeline.problems import DataError
from data_pipeline.stores.store import Store
from results.analysis.baselines import baselines_by_rank
from results.records import file_names
from results.records.evaluation import FOLDER, Evaluation, EvaluationError
from results.records.schemas import Flips
from results.records.study import StudyRecord, TrialRecord, load_study, not_kept
from search.config.errors import ConfigError
from search.config.schema import StudyConfig
from search.config.trial import TrialConfig
from search.scoring import pictures
from search.scoring.model import Images, at_best, score_model

MODEL = file_names.MODEL
MOST_BASELINES = 4
SPLIT = "valid"  # the one that pictures are of

Tell = Callable[[str], None]
Beat = Callable[[], None]


@dataclass(frozen=True)
class Scored:
    """What came of scoring a study.

    Attributes:
        evaluations: Of every model that was to be scored and could be, earlier ones included.
        new: Names of those scored now.
        files: Written now, by their names within the study directory, in order.
    """

    evaluations: tuple[Evaluation, ...]
    new: tuple[str, ...]
    files: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class ScoredModel:
    """A trial's best model.

    Attributes:
        trial: Its record.
        epoch: Whose weights they are.
    """

    trial: TrialRecord
    epoch: int | None

    @property
    def name(self) -> str:
        return f"trial-{self.trial.number:05d}"

    @property
    def path(self) -> Path:
        return self.trial.path / MODEL

    def place(self, split: str) -> str:
        """Return the name of its evaluation's file within the study directory."""
        return f"{FOLDER}/{split}-{self.name}.npz"


def models_of(
    study: StudyRecord,
    trials: Sequence[int] = (),
    has_model: Callable[[TrialRecord], bool] = lambda trial: (trial.path / MODEL).is_file(),
) -> list[ScoredModel]:
    """Choose whose models are scored: the incumbent, its baselines, and those asked for.

    Args:
        study: The study.
        trials: Numbers of further trials.
        has_model: Whether a trial's model can be had.

    Raises:
        ConfigError: naming each of ``trials`` that is not there or has no model.
    """
    known = {trial.number: trial for trial in study.trials}
    lost = [n for n in trials if n not in known or not has_model(known[n])]
    if lost:
        raise ConfigError(
            str(study.path),
            [
                f"--trial {n}: expected a trial with a {MODEL}"
                + (not_kept(study, known[n]) if n in known else "")
                for n in lost
            ],
        )
    best = study.incumbent
    chosen = [best] if best is not None and has_model(best) else []
    chosen += [t for t in baselines_by_rank(study)[:MOST_BASELINES] if has_model(t)]
    chosen += [known[number] for number in trials]
    return [ScoredModel(trial, _epoch(trial)) for trial in {t.number: t for t in chosen}.values()]


def _epoch(trial: TrialRecord) -> int | None:
    if trial.curve.fold.any():
        return trial.model_epoch
    row = trial.best_row
    return trial.best_epoch if row is None else int(trial.curve.epoch[row])


def scored_before(
    directory: Path,
    model: ScoredModel,
    split: str,
    fingerprint: str | None,
    flips: Flips | None = None,
) -> Evaluation | None:
    """Return a model's evaluation from an earlier time.

    None where it has none of this epoch, these data and, unless they are None, these flips.
    """
    try:
        found = Evaluation.load(directory / model.place(split))
    except EvaluationError:
        return None
    same = (found.epoch, found.fingerprint) == (model.epoch, fingerprint)
    same = same and flips in (None, found.flips)
    return found if same and found.trial == model.trial.number else None


def scored_models(
    study: StudyRecord,
    fingerprint: str | None,
    has_model: Callable[[TrialRecord], bool] = lambda trial: (trial.path / MODEL).is_file(),
) -> list[tuple[ScoredModel, Evaluation]]:
    """List the models that have an evaluation for the pictures, of whichever run or command.

    Args:
        study: The study.
        fingerprint: Of its data; an evaluation of others, or of another epoch, does not count.
        has_model: Whether a trial's model can be had.
    """
    models = [ScoredModel(trial, _epoch(trial)) for trial in study.trials if has_model(trial)]
    found = [(m, scored_before(study.path, m, SPLIT, fingerprint)) for m in models]
    return [(model, evaluation) for model, evaluation in found if evaluation is not None]


def score_study(
    directory: Path,
    config: StudyConfig,
    store: Store,
    *,
    trials: Sequence[int] = (),
    split: str = SPLIT,
    threads: int = 1,
    tell: Tell = lambda message: None,
    warn: Tell = lambda message: None,
    beat: Beat = lambda: None,
) -> Scored:
    """Score a study's models, and draw what the report shows of them.

    What is scored already is kept: the same trial, epoch and data, at no worse a resolution. So do
    evaluations of other models.

    Args:
        directory: The study's.
        config: Of the study; where its source lies may have changed.
        store: Its prepared data.
        trials: Numbers of trials to score beside the incumbent and the baselines.
        split: train, valid or test. Pictures are drawn of valid alone.
        threads: Threads that read masks and count.
        tell: Told of each model as it is scored.
        warn: Told of what could not be done, and why.
        beat: Called for each model and batch: the scoring goes on.

    Raises:
        ConfigError: where one of ``trials`` has no model.
        data_pipeline.problems.DataError: where the data have no such split.
        results.records.study.RecordError: where the study cannot be read.
    """
    study = load_study(directory)
    images = Images.open(store, config.data, split)
    if images.why:
        warn(f"scored at the size of the prepared data: {_first_problem(images.why)}")
    scores = _Scores(directory, config, images, threads, tell, warn, beat)
    for model in models_of(study, trials):
        scores.take(model)
    if split == SPLIT:
        with pictures.alone(directory):
            scores.draw(scored_models(study, store.fingerprint))
    return Scored(tuple(scores.evaluations.values()), tuple(scores.new), tuple(scores.files))


def _first_problem(why: str) -> str:
    """Return what an error says first beneath its heading."""
    lines = [line.strip() for line in why.splitlines() if line.strip()]
    return lines[1] if len(lines) > 1 else why


class _Scores:
    """One scoring of a study under way."""

    def __init__(
        self,
        directory: Path,
        config: StudyConfig,
        images: Images,
        threads: int,
        tell: Tell,
        warn: Tell,
        beat: Beat = lambda: None,
    ) -> None:
        self.evaluations: dict[str, Evaluation] = {}
        self.new: list[str] = []
        self.files: list[str] = []
        self._models: dict[str, ScoredModel] = {}
        self._directory, self._config, self._images = directory, config, images
        self._threads, self._tell, self._warn, self._beat = threads, tell, warn, beat

    def take(self, model: ScoredModel) -> None:
        """Score a model, unless that was done before; of one that cannot be, say why."""
        images, store = self._images, self._images.store
        flips = self._config.search.score_flips
        found = scored_before(self._directory, model, images.split, store.fingerprint, flips)
        if found is None or (found.resolution, images.resolution) == ("prepared", "native"):
            found = self._score(model) or found
        if found is not None:
            self.evaluations[model.name] = found
            self._models[model.name] = model

    def _batch_of(self, config: TrialConfig) -> int:
        """Return images a step: a training step's, of whole images no more than it validates."""
        most = config.validation_batch(self._images.store.image_shape)
        return min(config.train.batch_size, most)

    def _score(self, model: ScoredModel) -> Evaluation | None:
        from model.inference import ModelError

        images = self._images
        try:
            found = score_model(
                model.path,
                images.store,
                images.config,
                images.split,
                name=model.name,
                trial=model.trial.number,
                epoch=model.epoch,
                flips=self._config.search.score_flips,
                batch_size=self._batch_of(self._constants(model)),
                threads=self._threads,
                beat=self._beat,
            )
        except ModelError as error:
            self._warn(f"{model.name} is not scored: {error}")
            return None
        finally:
            _forget()
        place = model.place(images.split)
        found.save(self._directory / place)
        self.files.append(place)
        self.new.append(model.name)
        self._tell(f"{model.name} scored on {len(found.images)} images, {found.resolution} size")
        return found

    def draw(self, others: Sequence[tuple[ScoredModel, Evaluation]] = ()) -> None:
        """Write the pictures and the augmentation's, where there is a model and they are not.

        Args:
            others: Models that were scored at other times, which the pictures keep.
        """
        if not self.evaluations:
            return
        from model.inference import ModelError

        own = {name: model.path for name, model in self._models.items()}
        files = {model.name: model.path for model, _ in others} | own
        evaluations = {model.name: found for model, found in others} | self.evaluations
        try:
            self._draw(files, list(evaluations.values()))
        except ModelError as error:
            if len(files) == len(own):
                raise
            self._warn(f"pictures of the models scored now alone: {error}")
            self._draw(own, list(self.evaluations.values()))
        best = next(iter(self._models.values()))
        try:
            augment = self._constants(best).augment
            self.files += pictures.draw_augmentation(self._directory, self._images.store, augment)
        except (ValueError, DataError) as error:
            self._warn(f"no picture of the augmentation: {error}")

    def _draw(self, files: dict[str, Path], evaluations: list[Evaluation]) -> None:
        wanted = pictures.facts_of(evaluations, self._images.resolution)
        if pictures.are_drawn(self._directory, wanted):
            return
        used, drawn = at_best(
            self._images,
            lambda images: pictures.draw_pictures(
                self._directory, images, files, evaluations, beat=self._beat
            ),
        )
        self.files += drawn
        _forget()
        if used is not self._images:
            self._warn(f"pictures are of the prepared data's size: {_first_problem(used.why)}")

    def _constants(self, model: ScoredModel) -> TrialConfig:
        return self._config.at(dict(model.trial.params))


def _forget() -> None:
    """Let go of a model, so that many need no more memory than one."""
    import keras

    keras.backend.clear_session()
