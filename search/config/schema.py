"""The one schema of a study: what a YAML file may say, and every problem of it at once.

Any field of ``model``, ``train`` and ``augment`` is a constant or a distribution
(``search/config/space.py``); the other sections are constants. The exported best config is the same
schema with constants only, so ``train`` reads what ``export`` writes.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator

from data_pipeline.augmentation.config import AugmentConfig
from data_pipeline.augmentation.operations import FILLED, OPERATIONS
from data_pipeline.config import DataConfig
from model.config import ModelConfig, TrainConfig
from search.config.errors import ConfigError, described
from search.config.limits import needs_latency
from search.config.locations import copy_of, is_url, joined
from search.config.settings import (
    ConfigSection,
    PipelineSettings,
    ResourceSettings,
    SearchSettings,
    StudySettings,
    redacted,
)
from search.config.space import DISTRIBUTIONS, Distribution, Scalar, distributions, searchable
from search.config.trial import TrialConfig
from search.config.yaml_source import set_dotted

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


def _same(one: Any, other: Any) -> bool:
    """Return whether two values are one: 0.1 + 2 * 0.1, as a step has it, is 0.3."""
    if isinstance(one, float) and isinstance(other, int | float):
        return math.isclose(one, other, rel_tol=1e-9)
    return bool(one == other)


def _is_constant(value: Any) -> bool:
    return isinstance(value, (bool, int, float, Mapping))


def _open(given: Mapping[str, Any], named: Mapping[str, Any]) -> list[str]:
    """Return fields that a preset may have a word on: all that are not searched."""
    return [name for name in FILLED if given[name] is None or name in named]


class StudyConfig(ConfigSection):
    """A whole study; :mod:`search.config.loading` makes one and reports every problem at once."""

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

    @model_validator(mode="before")
    @classmethod
    def _fold_the_data(cls, tree: Any) -> Any:
        """Let search.folds say how the data are dealt."""
        search = tree.get("search") if isinstance(tree, Mapping) else None
        folds = search.get("folds") if isinstance(search, Mapping) else None
        if folds is None or not isinstance(tree.get("data", {}), Mapping | None):
            return tree
        data = dict(tree.get("data") or {})
        split = data.get("split") or {}
        if not isinstance(split, Mapping) or split.get("folds") is not None:
            return tree
        return {**tree, "data": {**data, "split": {**split, "folds": folds}}}

    def fold_data(self) -> tuple[DataConfig, ...]:
        """Return the data of each fold that a trial is trained on; the study's alone without."""
        split = self.data.split
        return tuple(
            self.data.model_copy(update={"split": split.model_copy(update={"fold": fold})})
            for fold in (range(self.search.folds) if self.search.folds else (split.fold,))
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

    @model_validator(mode="after")
    def _conditions_in_no_circle(self) -> Self:
        conditions = {name: set(each.when or {}) for name, each in self.space.items()}
        while ready := [
            name for name, others in conditions.items() if not others & set(conditions)
        ]:
            for name in ready:
                del conditions[name]
        if conditions:
            raise ValueError(
                "expected conditions (when) that lead to other fields, received a circle of "
                + " and ".join(sorted(conditions))
            )
        return self

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
    def image_shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of the images, in pixels."""
        return (*self.data.image_size, self.data.channels)

    @property
    def directory(self) -> Path:
        """The study directory, absolute; of a study in an object store, this machine's copy."""
        study = self.study
        if is_url(study.storage_path):
            return copy_of(study.storage_path, study.name, study.cache_path)
        return (Path(study.storage_path) / study.name).absolute()

    @property
    def origin(self) -> str | None:
        """The URL of a study in an object store; None of one in a folder."""
        path = self.study.storage_path
        return joined(path, self.study.name) if is_url(path) else None

    def at(self, params: Mapping[str, Scalar], seed: int | None = None) -> TrialConfig:
        """Return the constants of one trial.

        Args:
            params: Dotted name to value for every searched field.
            seed: The trial's seed; the study's where None.

        Raises:
            ConfigError: for searched fields without a value, or a value that a field refuses.
        """
        missing = [n for n in self.space if n not in params and self.is_searched(n, params)]
        if missing:
            raise ConfigError(
                "params",
                [f"{name}: expected a constant, received {self._yaml(name)}" for name in missing],
            )
        try:
            return TrialConfig(
                data=self.data,
                augment=AugmentConfig(**self.constants_of("augment", params)),
                model=ModelConfig(**self.constants_of("model", params)),
                train=TrainConfig(**self.constants_of("train", params)),
                objective=self.search.objective,
                pruning_metric=self.search.pruning_metric,
                seed=self.study.seed if seed is None else seed,
                class_weights=self.search.class_weights,
                measure_latency=needs_latency(self.search),
            )
        except ValidationError as error:
            raise ConfigError(
                "params", list(described(error, lambda _: None, TrialConfig))
            ) from None

    def to_tree(self) -> dict[str, Any]:
        """Return the whole config as plain mappings, as YAML and ``config_from_tree`` take it."""
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
        written = self.space[name].to_yaml()
        if self.space[name].when:  # stated, for who reads a record without this schema
            written["otherwise"] = self.otherwise(name)
        return written

    def constants_of(self, section: str, params: Mapping[str, Scalar]) -> dict[str, Any]:
        """Return the fields of a section, searched ones by a trial's parameters.

        A field that is not searched at this point has its value of elsewhere, whatever is given.
        """
        return {
            name: self.value_at(f"{section}.{name}", params)
            for name in SEARCHED[section].model_fields
        }

    def is_searched(self, name: str, params: Mapping[str, Any]) -> bool:
        """Return whether a field is searched at a point of the space, by its conditions.

        Args:
            name: Dotted.
            params: Dotted name to value of the searched fields that are known.
        """
        distribution = self._written(name)
        if not isinstance(distribution, DISTRIBUTIONS):
            return False
        conditions = distribution.when or {}
        return all(
            any(_same(self.value_at(other, params), value) for value in values)
            for other, values in conditions.items()
        )

    def value_at(self, name: str, params: Mapping[str, Any]) -> Any:
        """Return the value of a dotted field at a point of the space.

        Where it is searched and ``params`` lacks it, that is its distribution.
        """
        value = self._written(name)
        if not isinstance(value, DISTRIBUTIONS):
            return value
        if self.is_searched(name, params):
            return params.get(name, value)
        return self.otherwise(name)

    def otherwise(self, name: str) -> Any:
        """Return the value of a searched field where its conditions do not hold."""
        section, _, field = name.partition(".")
        distribution = self._written(name)
        if "otherwise" in distribution.model_fields_set:
            return distribution.otherwise
        info = SEARCHED[section].model_fields[field]
        return info.get_default(call_default_factory=True, validated_data={})

    def _written(self, name: str) -> Any:
        """Return a dotted field as the config has it: a constant or a distribution."""
        section, _, field = name.partition(".")
        return getattr(getattr(self, section), field)

    def values(self, name: str) -> tuple[Any, ...]:
        """Return the extreme values a dotted field can take: of a constant, itself."""
        if name in self.space:
            elsewhere = (self.otherwise(name),) if self.space[name].when else ()
            return (*self.space[name].extremes(), *elsewhere)
        return (self._written(name),)
