"""The searched fields of a study, read back from the config that study.yaml carries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

_KINDS = ("int", "float", "choice")
_OPTIONS = {"log", "step", "when", "otherwise"}


@dataclass(frozen=True)
class SearchedField:
    """A field of model, train or augment that the study searched.

    Attributes:
        name: dotted, "model.num_layers".
        kind: "int", "float" or "choice".
        low, high: the range, both ends included; None for a choice.
        choices: the choices; empty for a range.
        log: whether the range is searched by its logarithm.
        step: grid of the range; None for every value.
        when: the values that other fields must have for it to be searched, by dotted name; empty
            where it always is.
        otherwise: its value where they have not.
    """

    name: str
    kind: str
    low: float | None = None
    high: float | None = None
    choices: tuple[Any, ...] = ()
    log: bool = False
    step: float | None = None
    when: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    otherwise: Any = None

    @property
    def text(self) -> str:
        """The distribution for people: "3 to 7", "0.0001 to 0.01, log", "8, 16 or 32"."""
        where = " and ".join(f"{name} is {_either(v)}" for name, v in self.when.items())
        return self._values() + (f", where {where}" if where else "")

    def _values(self) -> str:
        if self.kind == "choice":
            return _either(self.choices)
        step = f", step {self.step:g}" if self.step is not None else ""
        return f"{self.low:g} to {self.high:g}{', log' if self.log else ''}{step}"

    def distribution(self) -> BaseDistribution:
        """Return the same as Optuna's distribution.

        Raises:
            ValueError: for a range or step that Optuna refuses.
        """
        from optuna.distributions import (
            CategoricalDistribution,
            FloatDistribution,
            IntDistribution,
        )

        if self.kind == "choice":
            return CategoricalDistribution(self.choices)
        low, high = self.low or 0, self.high or 0
        if self.step is not None:
            # Optuna would lower a high that no step reaches, with a warning.
            high = float(_lowered(*(Decimal(str(x)) for x in (low, high, self.step))))
        if self.kind == "int":
            return IntDistribution(int(low), int(high), log=self.log, step=int(self.step or 1))
        return FloatDistribution(low, high, log=self.log, step=self.step)


def _either(values: tuple[Any, ...]) -> str:
    names = [str(value) for value in values]
    return " or ".join([", ".join(names[:-1]), names[-1]]) if names[1:] else names[0]


def _lowered(low: Decimal, high: Decimal, step: Decimal) -> Decimal:
    return low + (high - low) // step * step


def searched_fields(config: Mapping[str, Any]) -> dict[str, SearchedField]:
    """Find the fields of a config that are distributions.

    Args:
        config: a study's config, with ``{int: [a, b]}``, ``{float: [a, b], log: true}`` or
            ``{choice: [...]}`` where a field is searched.

    Returns:
        The searched fields by dotted name, in the config's order.
    """
    found = {}
    for section in ("model", "train", "augment"):
        fields = config.get(section)
        for key, value in fields.items() if isinstance(fields, Mapping) else ():
            read = as_searched(f"{section}.{key}", value)
            if read is not None:
                found[read.name] = read
    return found


def as_searched(name: str, value: object) -> SearchedField | None:
    """Read one value as a distribution; None for a constant."""
    if not isinstance(value, Mapping):
        return None
    kinds = [kind for kind in _KINDS if isinstance(value.get(kind), list | tuple)]
    if len(kinds) != 1 or set(value) - {kinds[0]} - _OPTIONS:
        return None
    kind, domain = kinds[0], tuple(value[kinds[0]])
    given = value.get("when")
    when = {
        str(other): tuple(v) if isinstance(v, list | tuple) else (v,)
        for other, v in (given.items() if isinstance(given, Mapping) else ())
    }
    elsewhere = value.get("otherwise")
    if kind == "choice":
        if not domain:
            return None
        return SearchedField(name, kind, choices=domain, when=when, otherwise=elsewhere)
    if len(domain) != 2 or not all(isinstance(end, int | float) for end in domain):
        return None
    return SearchedField(
        name,
        kind,
        *domain,
        log=bool(value.get("log", False)),
        step=value.get("step"),
        when=when,
        otherwise=elsewhere,
    )


def short_names(names: list[str] | tuple[str, ...]) -> dict[str, str]:
    """Shorten dotted names to their last part where that stays unambiguous."""
    leaves = [name.rpartition(".")[2] for name in names]
    return {
        name: leaf if leaves.count(leaf) == 1 else name
        for name, leaf in zip(names, leaves, strict=True)
    }
