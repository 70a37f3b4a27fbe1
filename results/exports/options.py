"""What an export is asked for, checked together: every problem in one error."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass

from results.exports.choice import ExportError
from results.exports.ensemble import ensemble_problem
from results.exports.folder import FILES, MODEL_FORMATS

DEFAULT_FORMATS = ("yaml", "keras")
MASK_FORMATS = (".png", ".npz")


@dataclass(frozen=True)
class ExportOptions:
    """What an export is asked for.

    Attributes:
        formats: Of ``FILES``, each once.
        trial: Number of a trial to export, with its own model; None: the best.
        searched: Whether to take the search's own best, whatever was confirmed.
        confirmed: Whether to take nothing but a config that confirmed best.
        strict: Whether to refuse settings that the reference's config file cannot express.
        images_root: Folder of the data's splits as that file names it; None: the data's source.
        mask_format: .png or .npz, as that file names the masks.
        class_bias: Whether a bias per class is fitted to the validation split.
        ensemble: folds, seeds or top:K: the model averages those of several trainings; None: it is
            a single one.
    """

    formats: tuple[str, ...] = DEFAULT_FORMATS
    trial: int | None = None
    searched: bool = False
    confirmed: bool = False
    strict: bool = False
    images_root: str | None = None
    mask_format: str | None = None
    ensemble: str | None = None
    class_bias: bool = False

    def __post_init__(self) -> None:
        """Check them.

        Raises:
            ExportError: listing every problem.
        """
        problems = [
            *self._format_problems(),
            *self._wish_problems(),
            *self._ensemble_problems(),
            *self._class_bias_problems(),
            *self._flexunet_problems(),
        ]
        if len(problems) == 1:
            raise ExportError(problems[0])
        if problems:
            listed = "\n".join(f"  - {problem}" for problem in problems)
            raise ExportError(f"export: {len(problems)} problems\n{listed}")

    @property
    def of_the_search(self) -> bool:
        """Whether the search's own best is wanted, whatever was confirmed."""
        return self.searched or (self.ensemble or "").startswith("top")

    @property
    def model_formats(self) -> tuple[str, ...]:
        """Those that the model is converted to."""
        return tuple(name for name in self.formats if name in MODEL_FORMATS)

    def _format_problems(self) -> Iterator[str]:
        if not self.formats:
            yield f"--format: expected one or more of {', '.join(FILES)}, received none"
        for name in dict.fromkeys(self.formats):
            if name not in FILES:
                close = difflib.get_close_matches(name, FILES, n=1)
                hint = f"; did you mean {close[0]!r}?" if close else ""
                yield f"--format: expected one of {', '.join(FILES)}, received {name!r}{hint}"

    def _wish_problems(self) -> Iterator[str]:
        wishes = {
            "--trial": self.trial is not None,
            "--searched": self.searched,
            "--confirmed": self.confirmed,
        }
        given = [name for name, wished in wishes.items() if wished]
        if len(given) > 1:
            yield (
                f"expected one of {', '.join(wishes)}, received {' and '.join(given)}: they name "
                "different configs"
            )

    def _ensemble_problems(self) -> Iterator[str]:
        if self.ensemble is None:
            return
        if problem := ensemble_problem(self.ensemble):
            yield problem
        refused = {
            "--trial": self.trial is not None,
            "--searched": self.searched and self.ensemble in ("folds", "seeds"),
            "--confirmed": self.confirmed and self.ensemble.startswith("top"),
        }
        for name in (name for name, given in refused.items() if given):
            yield f"{name}: expected it without --ensemble {self.ensemble}, which names the models"
        if "h5" in self.formats:
            yield "--format h5: expected a single model, whose weights it holds; not --ensemble"
        if not {"keras", *MODEL_FORMATS} & set(self.formats):
            yield "--ensemble: expected a format of a model with it, such as keras"

    def _class_bias_problems(self) -> Iterator[str]:
        if self.class_bias and self.ensemble is not None:
            yield (
                "--class-bias: expected it without --ensemble: a mean of probabilities has no "
                "logits to add it to"
            )
        if self.class_bias and not {"keras", *MODEL_FORMATS} & set(self.formats):
            yield "--class-bias: expected a format of a model with it, such as keras"

    def _flexunet_problems(self) -> Iterator[str]:
        if self.mask_format is not None and self.mask_format not in MASK_FORMATS:
            yield f"--mask-format: expected .png or .npz, received {self.mask_format!r}"
        if "flexunet" in self.formats:
            return
        given = {
            "--strict": self.strict,
            "--images-root": self.images_root is not None,
            "--mask-format": self.mask_format is not None,
        }
        for name in (name for name, is_given in given.items() if is_given):
            yield f"{name}: expected --format flexunet with it, which alone it is for"


def parse_formats(text: str) -> tuple[str, ...]:
    """Read a list such as "yaml,keras,onnx": each name once, in this order; all: every format."""
    if text.strip().lower() == "all":
        return tuple(FILES)
    names = (name.strip().lower() for name in text.split(","))
    return tuple(dict.fromkeys(name for name in names if name))
