"""An export whose model has a bias per class fitted to the validation split: what it brought."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from results.style.markdown import plain
from results.style.words import number


@dataclass(frozen=True)
class ClassBias:
    """A bias per class, and mean foreground Dice on the validation split without and with it.

    Attributes:
        model: The ``.keras`` file to export: with the bias, where it is applied.
        bias: By class, in the logit.
        without: As the model was.
        fitted: On the very images that it was fitted to.
        held_out: With biases that were fitted to other objects than they are measured on; None
            where there are too few objects to do so.
    """

    model: Path
    bias: Mapping[str, float]
    without: float
    fitted: float
    held_out: float | None

    @property
    def applied(self) -> bool:
        """Whether the exported model has it: only where it helps objects it was not fitted to."""
        return self.held_out is not None and self.held_out > self.without

    def line(self) -> str:
        """Say what it is and what it brought, in a line."""
        values = ", ".join(f"{name} {value:+.2f}" for name, value in self.bias.items() if value)
        said = f"class bias {values or 'of 0'}"
        if self.held_out is None:
            return (
                f"{said} is left out: the validation split has too few objects to tell whether it "
                "helps others"
            )
        told = (
            f"mean foreground Dice on the validation split {number(self.without)} without, "
            f"{number(self.held_out)} with one fitted to other objects, {number(self.fitted)} on "
            "those that it was fitted to"
        )
        return f"{said} is {'part of the model' if self.applied else 'left out'}: {told}"


def class_bias_section(found: ClassBias | None) -> Iterator[str]:
    """Yield the model card's section on a class bias; nothing where none was asked for."""
    if found is None:
        return
    yield "## Class bias"
    line = found.line()
    yield (
        f"{plain(line[0].upper() + line[1:])}. Other scores on this card are without it. It was "
        "fitted to the validation split alone, for the mean foreground Dice."
    )
