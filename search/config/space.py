"""The search space: which fields are searched, and over which values.

In a config, any field of a searchable section is a constant or a distribution:
``{int: [3, 7]}``, ``{float: [1.0e-5, 1.0e-2], log: true}``, ``{choice: [8, 16, 32]}``, the first
two with ``step`` where it fits. Here such a distribution becomes Optuna's, and back.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Self, Union

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    TypeAdapter,
    ValidationError,
    create_model,
    field_validator,
    model_validator,
)

if TYPE_CHECKING:  # a worker, which reads configs, too, does not load Optuna
    from optuna.distributions import BaseDistribution

KINDS = ("int", "float", "choice")

Scalar = bool | int | float | str | None


class _Distribution(BaseModel):
    """What the three distributions share: frozen, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    when: dict[str, tuple[Scalar, ...]] | None = Field(
        None,
        description="Dotted field to a value, or a list of values: only where all of these fields "
        "have such a value is this one searched.",
    )
    otherwise: Scalar = Field(
        None,
        description="Its value elsewhere, with when. Left out: the field's default.",
    )

    @field_validator("when", mode="before")
    @classmethod
    def _lists(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        return {k: v if isinstance(v, list | tuple) else (v,) for k, v in value.items()}

    @model_validator(mode="after")
    def _conditions(self) -> Self:
        if self.when is not None and not self.when:
            raise ValueError("expected one field or more in when, received none")
        if self.when is None and "otherwise" in self.model_fields_set:
            raise ValueError("expected when with otherwise, received otherwise alone")
        return self

    def to_optuna(self) -> BaseDistribution:
        """Return the Optuna distribution of the same values."""
        raise NotImplementedError

    def extremes(self) -> tuple[Scalar, ...]:
        """Return the values that bound it: both ends, or every choice."""
        raise NotImplementedError

    def probes(self) -> tuple[Scalar, ...]:
        """Return the values that show whether a field takes it: the extremes and one inside."""
        return self.extremes()

    def to_yaml(self) -> dict[str, Any]:
        """Return it as it is written in a config."""
        written = self.model_dump(mode="json", by_alias=True, exclude_defaults=True)
        if "otherwise" in self.model_fields_set:
            written["otherwise"] = self.otherwise
        return written


def _check_range(low: float, high: float, log: bool, step: float | None) -> None:
    problems = []
    if low > high:
        problems.append(f"expected low <= high, received [{low}, {high}]")
    if log and low <= 0:
        problems.append(f"expected low > 0 with log: true, received {low}")
    if log and step is not None:
        problems.append(f"expected no step with log: true, received {step}")
    if step is not None and step <= 0:
        problems.append(f"expected step > 0, received {step}")
    if problems:
        raise ValueError("; ".join(problems))


class IntDistribution(_Distribution):
    """``{int: [low, high], step: 2}`` or ``log: true``: integers, both ends included."""

    range: tuple[int, int] = Field(alias="int", description="Lowest and highest value, included.")
    log: bool = Field(False, description="Uniform in the logarithm.")
    step: int | None = Field(None, description="Distance of neighbouring values; default 1.")

    @model_validator(mode="after")
    def _valid(self) -> IntDistribution:
        _check_range(*self.range, self.log, self.step)
        return self

    def to_optuna(self) -> BaseDistribution:
        """Return an ``optuna.distributions.IntDistribution``."""
        low, high = self.extremes()
        # Optuna would lower a high that no step reaches, with a warning at every start.
        from optuna.distributions import IntDistribution as OptunaInt

        return OptunaInt(low, high, log=self.log, step=self.step or 1)

    def extremes(self) -> tuple[int, int]:
        """Return the lowest and the highest value."""
        low, high = self.range
        step = self.step or 1
        return (low, low + (high - low) // step * step)

    def probes(self) -> tuple[Scalar, ...]:
        """Return both ends and the second value: an even kernel hides between two odd ends."""
        low, high = self.extremes()
        return (low, min(low + (self.step or 1), high), high)


class FloatDistribution(_Distribution):
    """``{float: [low, high], log: true}`` or ``step: 0.1``: real numbers, both ends included."""

    range: tuple[float, float] = Field(
        alias="float", description="Lowest and highest value, included."
    )
    log: bool = Field(False, description="Uniform in the logarithm.")
    step: float | None = Field(None, description="Distance of neighbouring values.")

    @model_validator(mode="after")
    def _valid(self) -> FloatDistribution:
        _check_range(*self.range, self.log, self.step)
        return self

    def to_optuna(self) -> BaseDistribution:
        """Return an ``optuna.distributions.FloatDistribution``."""
        low, high = self.extremes()
        from optuna.distributions import FloatDistribution as OptunaFloat

        return OptunaFloat(low, high, log=self.log, step=self.step)

    def extremes(self) -> tuple[float, float]:
        """Return the lowest and the highest value."""
        low, high = self.range
        if self.step is None:
            return (low, high)
        # Rounded as far as a step's own digits go: 0.1 + 2 * 0.1 is not 0.3.
        steps = math.floor((high - low) / self.step + 1e-9)
        return (low, float(f"{low + steps * self.step:.12g}"))


class ChoiceDistribution(_Distribution):
    """``{choice: [8, 16, 32]}``: one of these values."""

    choices: tuple[Scalar, ...] = Field(alias="choice", min_length=1, description="The values.")

    @model_validator(mode="after")
    def _distinct(self) -> ChoiceDistribution:
        if len({(type(value), value) for value in self.choices}) < len(self.choices):
            raise ValueError(f"expected distinct choices, received {list(self.choices)}")
        return self

    def to_optuna(self) -> BaseDistribution:
        from optuna.distributions import CategoricalDistribution

        return CategoricalDistribution(self.choices)

    def extremes(self) -> tuple[Scalar, ...]:
        return self.choices


Distribution = IntDistribution | FloatDistribution | ChoiceDistribution
DISTRIBUTIONS = (IntDistribution, FloatDistribution, ChoiceDistribution)


def points(distribution: BaseDistribution) -> float:
    """Return how many values a distribution has."""
    from optuna import distributions as optuna

    if isinstance(distribution, optuna.CategoricalDistribution):
        return len(distribution.choices)
    if distribution.single():
        return 1
    if isinstance(distribution, optuna.IntDistribution):
        return (distribution.high - distribution.low) // distribution.step + 1
    if isinstance(distribution, optuna.FloatDistribution) and distribution.step:
        return round((distribution.high - distribution.low) / distribution.step) + 1
    return math.inf


def _kind(value: Any) -> str:
    """Tell pydantic's union which branch a config value means."""
    if isinstance(value, _Distribution):
        return {IntDistribution: "int", FloatDistribution: "float"}.get(type(value), "choice")
    if isinstance(value, Mapping):
        return next((kind for kind in KINDS if kind in value), "constant")
    return "constant"


def searchable(
    section: type[BaseModel],
    searched: Mapping[str, Mapping[str, Any]] | None = None,
    filled: Iterable[str] = (),
) -> type[BaseModel]:
    """Derive the section in which every field may also be a distribution.

    The extreme values of a distribution must each be valid as the constant they stand for.
    Rules between fields are checked on the constants: see ``StudyConfig``.

    Args:
        section: A frozen model of constants, such as ``ModelConfig``.
        searched: Field to the distribution that is its default here, as a config writes it.
        filled: Fields that the section itself fills where they are None, their default here.

    Returns:
        A frozen model of the same fields and otherwise the same defaults, named
        ``Searchable<section>``.
    """
    fields: dict[str, Any] = {}
    for name, info in section.model_fields.items():
        constant: Any = info.annotation
        for rule in info.metadata:
            constant = Annotated[constant, rule]
        if name in filled:
            constant = constant | None
        union = Union[  # noqa: UP007  (built from runtime values, which | does not take)
            Annotated[constant, Tag("constant")],
            Annotated[IntDistribution, Tag("int")],
            Annotated[FloatDistribution, Tag("float")],
            Annotated[ChoiceDistribution, Tag("choice")],
        ]
        check = AfterValidator(partial(_check_values, section, name))
        default = info.get_default(call_default_factory=True, validated_data={})
        if name in filled:
            default = None
        if searched and name in searched:
            default = TypeAdapter(Distribution).validate_python(searched[name])
        fields[name] = (
            Annotated[union, Discriminator(_kind), check],
            Field(default, description=info.description),
        )
    return create_model(
        f"Searchable{section.__name__}",
        __config__=ConfigDict(frozen=True, extra="forbid"),
        __doc__=f"{section.__name__}, each field a constant or a distribution.",
        **fields,
    )


def _check_values(section: type[BaseModel], name: str, value: Any) -> Any:
    """Refuse a distribution, or a constant, whose value the section's own field refuses."""
    candidates: tuple[Any, ...] = (value,)
    if isinstance(value, _Distribution):
        candidates = value.probes()
        if "otherwise" in value.model_fields_set:
            candidates += (value.otherwise,)
    problems = []
    for candidate in candidates:
        try:
            # Strict, so that a float distribution is refused for an integer field.
            section.model_validate({name: candidate}, strict=True)
        except ValidationError as error:
            # Rules between fields have no location; they are not this field's business.
            own = [item for item in error.errors() if item["loc"][:1] == (name,)]
            problems += [f"{item['msg'].removeprefix('Value error, ')}" for item in own]
    if problems:
        raise ValueError("; ".join(dict.fromkeys(problems)))
    return value


def distributions(section: BaseModel) -> Iterator[tuple[str, Distribution]]:
    """Yield the name and the distribution of each searched field of a section."""
    for name in type(section).model_fields:
        value = getattr(section, name)
        if isinstance(value, _Distribution):
            yield name, value  # type: ignore[misc]
