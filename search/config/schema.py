"""The one schema of a study: what a YAML file may say, and every problem of it at once.

Any field of ``model``, ``train`` and ``augment`` is a constant or a distribution
(``search/config/space.py``); the other sections are constants. The exported best config is the same
schema with constants only, so ``train`` reads what ``export`` writes.
"""

from __future__ import annotations

import itertools
import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from pydantic import BaseModel, Field, ValidationError, field_validator

from data_pipeline.augmentation.config import AugmentConfig
from data_pipeline.augmentation.operations import COLOR_ONLY, FILLED, OPERATIONS
from data_pipeline.config import DataConfig
from model.config import ModelConfig, TrainConfig
from search.config.baselines import fill_baselines, with_recipe
from search.config.limits import needs_latency
from search.config.method_rules import method_problems
from search.config.reference_file import FlexUNetSource, read_source, search_around, with_first_rung
from search.config.settings import (
    PipelineSettings,
    ResourceSettings,
    SearchSettings,
    Section,
    StudySettings,
    redacted,
)
from search.config.sharing_rules import sharing_problems
from search.config.space import KINDS, Distribution, Scalar, distributions, searchable
from search.config.yaml_source import apply_overrides, set_dotted
from search.storage.object_store import RemoteFolder, copy_of, is_remote

_log = logging.getLogger(__name__)

SEARCHED: dict[str, type[BaseModel]] = {
    "model": ModelConfig,
    "train": TrainConfig,
    "augment": AugmentConfig,
}

if TYPE_CHECKING:  # the derived classes have the same fields, which is all that mypy needs
    from data_pipeline.augmentation.config import AugmentConfig as SearchableAugment
    from model.config import ModelConfig as SearchableModel
    from model.config import TrainConfig as SearchableTrain
else:
    # What is searched where a config says nothing of it: depth, base filters, kernel size,
    # dropout and learning rate.
    SearchableModel = searchable(
        ModelConfig,
        {
            "num_layers": {"int": [3, 6]},
            "base_filters": {"choice": [8, 16, 32]},
            "base_kernel": {"int": [3, 7], "step": 2},
            "dropout_rate": {"float": [0.0, 0.1]},
        },
    )
    SearchableTrain = searchable(
        TrainConfig, {"learning_rate": {"float": [1e-4, 1e-2], "log": True}}
    )
    SearchableAugment = searchable(AugmentConfig, filled=FILLED)


class ConfigError(ValueError):
    """Everything that is wrong with a config, each problem with its line where it is known.

    Attributes:
        source: The file, or another name of where the config came from.
        problems: One sentence a problem.
    """

    def __init__(self, source: str, problems: Sequence[str]) -> None:
        self.source = source
        self.problems = tuple(problems)
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        super().__init__("\n".join([f"{source}: {count}", *(f"  - {p}" for p in problems)]))

    def __reduce__(self) -> tuple[type[ConfigError], tuple[str, Sequence[str]]]:
        return ConfigError, (self.source, self.problems)


class TrialConfig(Section):
    """One point of the space: constants only, all that a trial or a production training needs."""

    data: DataConfig
    augment: AugmentConfig
    model: ModelConfig
    train: TrainConfig
    objective: str
    pruning_metric: str
    seed: int
    class_weights: dict[str, float] = Field(default_factory=dict)
    measure_latency: bool = False


def _is_constant(value: Any) -> bool:
    return isinstance(value, (bool, int, float, Mapping))


def _as_recorded(tree: Mapping[str, Any]) -> dict[str, Any]:
    """What a record of an older version does not name it did not do."""
    augment = tree.get("augment") or {}
    filled = {"preset": "none", **augment} if isinstance(augment, Mapping) else augment
    return {**tree, "augment": filled}


def _open(given: Mapping[str, Any], named: Mapping[str, Any]) -> list[str]:
    """Fields that a preset may have a word on: all that are not searched."""
    return [name for name in FILLED if given[name] is None or name in named]


class StudyConfig(Section):
    """A whole study. Load it with :meth:`load`, which reports every problem in one error."""

    study: StudySettings = Field(default_factory=StudySettings)
    data: DataConfig = Field(default_factory=DataConfig)
    augment: SearchableAugment = Field(default_factory=SearchableAugment, validate_default=True)
    model: SearchableModel = Field(default_factory=SearchableModel)
    train: SearchableTrain = Field(default_factory=SearchableTrain)
    search: SearchSettings = Field(default_factory=SearchSettings)
    resources: ResourceSettings = Field(default_factory=ResourceSettings)
    pipeline: PipelineSettings = Field(default_factory=PipelineSettings)
    provenance: dict[str, Any] | None = Field(
        None, description="Where an exported config comes from; written by export, not read."
    )

    @field_validator("augment")
    @classmethod
    def _fill_from_preset(cls, augment: SearchableAugment) -> SearchableAugment:
        """State what a preset says, so that a study's record does; one that is searched cannot.

        Nothing is left for the preset to say then, and its name is ``none``: configs that augment
        alike are equal, however they were written.
        """
        given: dict[str, Any] = dict(augment)
        if not isinstance(given["preset"], str):
            return augment
        named = {name: given[name] for name in FILLED if _is_constant(given[name])}
        filled = AugmentConfig(preset=augment.preset, **named)
        update: dict[str, Any] = {name: getattr(filled, name) for name in _open(given, named)}
        if "probability" in update:
            off = {name for name in OPERATIONS if update.get(name, given[name]) in (0, False)}
            shares = filled.probability.items()
            update["probability"] = {name: share for name, share in shares if name not in off}
        return augment.model_copy(update={**update, "preset": "none"})

    @classmethod
    def recorded(cls, tree: Mapping[str, Any], source: str) -> Self:
        """Build it from what a study or an export has recorded, maybe of an older version.

        Raises:
            ConfigError: as :meth:`from_tree`.
        """
        return cls.from_tree(_as_recorded(tree), source)

    @classmethod
    def load(
        cls,
        path: Path,
        overrides: Iterable[str] = (),
        *,
        around: bool = False,
        alone: bool = False,
    ) -> Self:
        """Read a file and apply ``a.b=value`` overrides.

        YAML, or by its suffix a config file of the reference, whose constants are taken; what of
        it is not taken over exactly is logged.

        Args:
            path: The file.
            overrides: Each ``a.b=value``.
            around: Search around a file of the reference, itself the first baseline.
            alone: For one training, which no pruner stops, however few its epochs are.

        Raises:
            ConfigError: listing every problem, each with its line in the file.
        """
        overrides, source = list(overrides), read_source(path)
        around = around and isinstance(source, FlexUNetSource)
        problems = list(source.problems)
        tree = search_around(source.tree) if around else source.tree
        problems += apply_overrides(tree, overrides)
        if "provenance" in tree:  # an export
            tree = _as_recorded(tree)
        notes: list[str] = []
        if isinstance(source, FlexUNetSource):
            notes = list(source.notes)
        if alone or isinstance(source, FlexUNetSource):
            tree = with_first_rung(tree, stated=alone)
        try:
            config = cls.from_tree(tree, str(path), source.line, path.parent)
            if around and not problems:
                config, more = with_recipe(
                    config, cls.constants(path), path, config._baseline_value_problem
                )
                notes += more
        except ConfigError as error:
            # Of a file that cannot be read at all, nothing else is worth saying.
            problems += error.problems if tree else ()
        if problems:
            raise ConfigError(str(path), problems)
        for note in notes:
            _log.warning("%s: %s", path, note)
        return config

    @classmethod
    def constants(cls, path: Path) -> TrialConfig:
        """Read a file of constants, such as best.yaml or a config file of the reference.

        Raises:
            ConfigError: listing every problem, such as fields that are searched.
        """
        source = read_source(path)
        if source.problems:
            raise ConfigError(str(path), source.problems)
        tree = _as_recorded(source.tree) if "provenance" in source.tree else source.tree
        if isinstance(source, FlexUNetSource):
            tree = with_first_rung(tree)
        if isinstance(tree.get("search"), Mapping):  # a point of a space knows no other points
            dropped = ("baselines", "warm_start")
            tree = {**tree, "search": {k: v for k, v in tree["search"].items() if k not in dropped}}
        try:
            return cls.from_tree(tree, str(path), source.line).at({})
        except ConfigError as error:
            raise ConfigError(str(path), error.problems) from None

    @classmethod
    def of(cls, overrides: Iterable[str]) -> Self:
        """Apply ``a.b=value`` overrides to the defaults.

        Raises:
            ConfigError: listing every problem.
        """
        tree: dict[str, Any] = {}
        problems = apply_overrides(tree, overrides)
        try:
            config = cls.from_tree(tree, "--set")
        except ConfigError as error:
            raise ConfigError("--set", [*problems, *error.problems]) from None
        if problems:
            raise ConfigError("--set", problems)
        return config

    @classmethod
    def from_tree(
        cls,
        tree: Mapping[str, Any],
        source: str = "config",
        line: Any = lambda _: None,
        folder: Path | None = None,
    ) -> Self:
        """Build it from nested mappings.

        Args:
            tree: The config as YAML reads it.
            source: Name for the error.
            line: Maps a field's path (tuple of str) to its line in the source, or None.
            folder: What the files of baselines are relative to first; None: the working directory.

        Raises:
            ConfigError: listing every problem.
        """
        try:
            config = cls.model_validate(tree)
        except ValidationError as error:
            raise ConfigError(source, list(_describe(error, line))) from None
        config, unlike = fill_baselines(config, folder, cls.constants)
        found = [*config._rule_problems(), *(("search.baselines", problem) for problem in unlike)]
        problems = list(dict.fromkeys(found))
        if problems:
            raise ConfigError(
                source, [_with_line(line, tuple(field.split(".")), p) for field, p in problems]
            )
        return config

    def learning_from(self, studies: Iterable[Path]) -> Self:
        """Return the config with further directories of earlier studies to learn from."""
        paths = dict.fromkeys((*self.search.warm_start, *studies))
        search = self.search.model_copy(update={"warm_start": tuple(paths)})
        return self.model_copy(update={"search": search})

    @property
    def space(self) -> dict[str, Distribution]:
        """Dotted name to distribution of every searched field, in the order of the schema."""
        return {
            f"{section}.{name}": distribution
            for section in SEARCHED
            for name, distribution in distributions(getattr(self, section))
        }

    @property
    def directory(self) -> Path:
        """The study directory, absolute; of a study in an object store, this machine's copy."""
        study = self.study
        if is_remote(study.storage_path):
            return copy_of(study.storage_path, study.name, study.cache_path)
        return (Path(study.storage_path) / study.name).absolute()

    @property
    def origin(self) -> str | None:
        """The URL of a study in an object store; None of one in a folder."""
        path = self.study.storage_path
        return RemoteFolder(path).at(self.study.name).url if is_remote(path) else None

    def at(self, params: Mapping[str, Scalar], seed: int | None = None) -> TrialConfig:
        """Return the constants of one trial.

        Args:
            params: Dotted name to value for every searched field.
            seed: The trial's seed; the study's where None.

        Raises:
            ConfigError: for searched fields without a value, or a value that a field refuses.
        """
        missing = [name for name in self.space if name not in params]
        if missing:
            raise ConfigError(
                "params",
                [f"{name}: expected a constant, received {self._yaml(name)}" for name in missing],
            )
        try:
            return TrialConfig(
                data=self.data,
                augment=AugmentConfig(**self._constants("augment", params)),
                model=ModelConfig(**self._constants("model", params)),
                train=TrainConfig(**self._constants("train", params)),
                objective=self.search.objective,
                pruning_metric=self.search.pruning_metric,
                seed=self.study.seed if seed is None else seed,
                class_weights=self.search.class_weights,
                measure_latency=needs_latency(self.search),
            )
        except ValidationError as error:
            raise ConfigError("params", list(_describe(error, lambda _: None))) from None

    def to_tree(self) -> dict[str, Any]:
        """Return the whole config as plain mappings, as YAML and :meth:`from_tree` take it."""
        tree = self.model_dump(mode="json", by_alias=True, exclude_none=False)
        for name in self.space:
            set_dotted(tree, name.split("."), self._yaml(name))
        if self.provenance is None:
            del tree["provenance"]
        for name in ("storage", "mlflow"):
            url = getattr(self.study, name)
            if url:  # written to files that people pass on, and never read back from them
                tree["study"][name] = redacted(url)
        return tree

    def _yaml(self, name: str) -> dict[str, Any]:
        return self.space[name].to_yaml()

    def _constants(self, section: str, params: Mapping[str, Scalar]) -> dict[str, Any]:
        values = {
            name: getattr(getattr(self, section), name) for name in SEARCHED[section].model_fields
        }
        prefix = f"{section}."
        return values | {
            name.removeprefix(prefix): value
            for name, value in params.items()
            if name.startswith(prefix)
        }

    # Rules between fields. Each yields (dotted field, problem).

    def _rule_problems(self) -> Iterator[tuple[str, str]]:
        for section, cls in SEARCHED.items():
            yield from self._section_problems(section, cls)
        yield from self._image_size_problems()
        yield from self._baseline_problems()
        if self.search.num_trials is None and self.search.time_budget_minutes is None:
            yield (
                "search.num_trials",
                "expected num_trials or time_budget_minutes, received neither",
            )
        yield from method_problems(self)
        if self.pipeline.sharing == "service":
            for problem in sharing_problems(self):
                yield "pipeline.sharing", f"expected local or auto: {problem}"

    def values(self, name: str) -> tuple[Any, ...]:
        """Return the extreme values a dotted field can take: of a constant, itself."""
        if name in self.space:
            return self.space[name].extremes()
        section, field = name.split(".")
        return (getattr(getattr(self, section), field),)

    def _section_problems(self, section: str, cls: type[BaseModel]) -> Iterator[tuple[str, str]]:
        """Check the section's own rules at every pair of extremes: a rule binds two fields."""
        searched = [name for name in self.space if name.startswith(f"{section}.")]
        first = {name: self.values(name)[0] for name in searched}
        pairs: list[tuple[str, ...]] = list(itertools.combinations(searched, 2))
        pairs = pairs or [tuple(searched)]
        for pair in pairs:
            for values in itertools.product(*(self.values(name) for name in pair)):
                params = first | dict(zip(pair, values, strict=True))
                try:
                    cls(**self._constants(section, params))
                except ValidationError as error:
                    for item in error.errors():
                        yield section, item["msg"].removeprefix("Value error, ")

    def _image_size_problems(self) -> Iterator[tuple[str, str]]:
        height, width = self.data.image_size
        problem = ModelConfig(
            num_layers=max(self.values("model.num_layers")), dropout_rate=0
        ).image_size_problem(height, width)
        if problem:
            yield "data.image_size", problem
        for name in COLOR_ONLY:
            if self.data.channels != 3 and any(self.values(f"augment.{name}")):
                yield (
                    f"augment.{name}",
                    f"expected images of 3 channels (data.channels) with {name}, received "
                    f"{self.data.channels}",
                )
        if height != width and any(self.values("augment.quarter_turns")):
            yield (
                "augment.quarter_turns",
                f"expected square images with quarter_turns, received {height}x{width}",
            )

    def _baseline_problems(self) -> Iterator[tuple[str, str]]:
        names = [baseline.name for baseline in self.search.baselines]
        for name in dict.fromkeys(names):
            if names.count(name) > 1:
                yield "search.baselines", f"expected distinct names, received {name!r} twice"
        for baseline in self.search.baselines:
            for name, value in baseline.params.items():
                problem = self._baseline_value_problem(name, value)
                if problem:
                    yield "search.baselines", f"{baseline.name!r}: {name}: {problem}"

    def _baseline_value_problem(self, name: str, value: Scalar) -> str | None:
        section, _, field = name.partition(".")
        if field not in getattr(SEARCHED.get(section), "model_fields", {}):
            return "expected a field of model, train or augment"
        if name not in self.space:
            (constant,) = self.values(name)
            if constant is None and section == "augment" and field in FILLED:
                return f"expected nothing: augment.preset is searched, received {value!r}"
            same = constant == value
            return None if same else f"expected the constant {constant!r}, received {value!r}"
        distribution = self.space[name].to_optuna()
        try:
            inside = distribution._contains(distribution.to_internal_repr(value))
        except (ValueError, TypeError):
            inside = False
        if inside:
            return None
        return f"expected a value of {self._yaml(name)}, received {value!r}"


def _describe(error: ValidationError, line: Any) -> Iterator[str]:
    """Turn pydantic's errors into sentences that name the dotted field."""
    for item in error.errors():
        # The union's branch names are ours, not the user's.
        path = tuple(
            str(part)
            for index, part in enumerate(item["loc"])
            if not (index == 2 and part in (*KINDS, "constant"))
        )
        message = item["msg"].removeprefix("Value error, ")
        if item["type"] == "extra_forbidden":
            message = f"unknown field{_suggestion(path)}"
        elif item["type"] != "value_error":
            message = f"{message[0].lower()}{message[1:]}, received {item['input']!r}"
        yield _with_line(line, path, message)


def _suggestion(path: tuple[str, ...]) -> str:
    import difflib

    known: Iterable[str] = StudyConfig.model_fields
    if len(path) > 1 and path[0] in StudyConfig.model_fields:
        annotation = StudyConfig.model_fields[path[0]].annotation
        known = getattr(annotation, "model_fields", ())
    close = difflib.get_close_matches(path[-1], list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; expected one of {', '.join(known)}"


def _with_line(line: Any, path: tuple[str, ...], message: str) -> str:
    number = line(path)
    where = f"line {number}: " if number else ""
    return f"{where}{'.'.join(path)}: {message}"


def json_schema() -> str:
    """Return the JSON schema of a study's YAML, for editors (``make schema`` writes it)."""
    return json.dumps(StudyConfig.model_json_schema(by_alias=True), indent=1) + "\n"
