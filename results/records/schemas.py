"""The files of a study directory as far as they are read: study, trials and their epochs."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

TrialState = Literal["RUNNING", "COMPLETE", "PRUNED", "FAIL"]
Flips = Literal["none", "horizontal", "all"]  # mirror images whose answers are averaged

ParameterValue = bool | int | float | str | None


class TrialCost(BaseModel):
    """What one image costs a trial's model: see ``model/cost.py`` for the formulas.

    ``latency_ms`` was measured, in milliseconds, where the study asked for it.
    """

    model_config = ConfigDict(frozen=True)

    parameters: float
    flops: float
    activation_bytes: float
    latency_ms: float | None = None


class Failure(BaseModel):
    """A worker that a trial lost and did not end with."""

    model_config = ConfigDict(frozen=True)

    epoch: int
    reason: str


class StudyFile(BaseModel):
    """The contents of study.yaml, as far as they are read."""

    name: str
    created: str = ""
    config: dict[str, Any]
    classes: list[str] = Field(min_length=1)
    data_fingerprint: str | None = None
    versions: dict[str, str] = {}
    git_revision: str | None = None
    hardware: dict[str, Any] = {}
    objective: str = "mean_foreground_dice"
    pruning_metric: str | None = None


Count = Annotated[int, Field(ge=0)]
Part = Annotated[int, Field(ge=0, le=255)]


class SplitFacts(BaseModel):
    """What data.json says of a split; the mappings are by class."""

    images: Count = 0
    groups: Count = 0
    pixels: dict[str, Count] = {}
    images_with: dict[str, Count] = {}
    groups_with: dict[str, Count] = {}


class FindingFacts(BaseModel):
    """What data.json says of something that the audit found."""

    severity: str = ""
    message: str = ""
    files: list[str] = []


class DataFile(BaseModel):
    """The contents of data.json, as far as they are read; older versions wrote less."""

    source: str | None = None
    classes: list[str] = []
    colors: dict[str, tuple[Part, Part, Part]] | None = None
    image_shape: tuple[Count, Count, Count] | None = None
    splits: dict[str, SplitFacts] = {}
    skipped: list[dict[str, Any]] = []
    findings: list[FindingFacts] = []
    license: str | None = None
    citation: str | None = None


class TrialFile(BaseModel):
    """The contents of a trial.json."""

    number: int = Field(ge=0)
    state: TrialState
    value: float | None = None
    best_epoch: int | None = None
    epochs: int = 0
    params: dict[str, ParameterValue] = {}
    baseline: str | None = None
    repeat_of: int | None = None
    reason: str | None = None
    failures: tuple[Failure, ...] = ()
    started: str | None = None
    finished: str | None = None
    seed: int | None = None
    cost: TrialCost | None = None
    values: dict[str, float] = {}

    @field_validator("values", mode="before")
    @classmethod
    def _none_is_empty(cls, value: object) -> object:
        return {} if value is None else value
