"""The sections of a study's config that hold constants alone: study, search and resources."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from results.records.schemas import Flips
from search.config.locations import is_url, url_problem
from search.config.space import Scalar


def redacted(url: str) -> str:
    """Return a URL without its password, for files and messages."""
    # Up to the last @: a password may hold one, unquoted.
    hidden = re.sub(r"(://[^:/@]*):.*@", r"\1:***@", url)
    return re.sub(r"([?&][^=&]*(?:password|secret|token|key)[^=&]*)=[^&]*", r"\1=***", hidden)


class ConfigSection(BaseModel):
    """What all sections share: frozen, unknown keys refused, no infinities."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class StudySettings(ConfigSection):
    """The study's name, place and seed."""

    name: str = Field("flexunet", description="Letters, digits, '.', '_' and '-'.")
    storage_path: str = Field(
        "studies",
        description="Folder of studies; on a cluster one that every node sees, or an object "
        "store's URL, such as s3://bucket/prefix. The study directory is <storage_path>/<name>.",
    )
    cache_path: Path | None = Field(
        None,
        description="Folder of local copies, where storage_path is a URL; on each node. None: "
        "flexunet-search/studies in $XDG_CACHE_HOME or ~/.cache.",
    )
    storage: str | None = Field(
        None,
        description="Optuna storage URL (sqlite, postgresql, mysql). None: the file optuna.journal "
        "in the study directory.",
    )
    tensorboard: bool = Field(
        False, description="Write event files to <study directory>/tensorboard/<trial>."
    )
    mlflow: str | None = Field(
        None,
        description="MLflow tracking URI, such as a server's or file:///path: a run a trial, under "
        "an experiment named as the study. None: not written.",
    )
    seed: int = Field(
        0, ge=0, description="Seed of the sampler; a trial's seed follows from it and its number."
    )

    @field_validator("storage_path", mode="before")
    @classmethod
    def _path_or_url(cls, value: Any) -> Any:
        value = str(value) if isinstance(value, Path) else value
        problem = url_problem(value) if isinstance(value, str) and is_url(value) else None
        if problem:
            raise ValueError(problem)
        return value

    @field_validator("name")
    @classmethod
    def _plain_name(cls, value: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", value):
            raise ValueError(f"expected letters, digits, '.', '_' and '-', received {value!r}")
        return value


class Baseline(ConfigSection):
    """A known config that is tried before the sampler proposes, such as a hand-tuned recipe."""

    name: str = Field(description="How tables and report call it.")
    config: Path | None = Field(
        None,
        description="A config of constants, such as best.yaml, or a file of the reference, such as "
        "train_eval_infer.config: its values become params as the study is loaded. Relative to "
        "the study's file, else to the working directory. Constants of the study must be its own.",
    )
    params: dict[str, Scalar] = Field(
        {},
        description="Dotted field to value, each inside its distribution or equal to the "
        "constant; before what config says. Searched fields left out are drawn by the sampler.",
    )

    @model_validator(mode="after")
    def _says_something(self) -> Baseline:
        if self.config is None and "params" not in self.model_fields_set:
            raise ValueError("expected params, config or both, received neither")
        return self


class StopWhen(ConfigSection):
    """When a search has found enough, before its trials or its time are used up."""

    value: float | None = Field(
        None, gt=0, le=1, description="A trial's value, in full, that is enough."
    )
    chance: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="Enough where the next trials gain anything worth it with a lower probability "
        "than this. Told as in the report: from 20 of the sampler's trials on, 10 of them "
        "COMPLETE, and not where the best of them are equal.",
    )
    gain: float = Field(0.01, gt=0, lt=1, description="What is worth it, for chance: in value.")
    trials: int = Field(20, ge=1, description="Trials that chance looks ahead.")

    @model_validator(mode="after")
    def _says_something(self) -> StopWhen:
        if self.value is None and self.chance is None:
            raise ValueError("expected value, chance or both, received neither")
        return self


class SearchSettings(ConfigSection):
    """What is sought, by which sampler, pruner and budget."""

    sampler: Literal["tpe", "random", "gp", "cma-es", "nsga2", "grid", "qmc"] = Field(
        "tpe",
        description="Proposes the next trial. gp needs the extra flexunet-search[gp]; cma-es "
        "models numbers alone and draws choices at random; grid tries every point of a finite "
        "space once.",
    )
    startup_trials: int = Field(
        10,
        ge=1,
        description="Trials drawn at random before tpe and gp model the results; nsga2's "
        "population.",
    )
    pruner: Literal["asha", "hyperband", "median", "none"] = Field(
        "asha",
        description="asha: successive halving by epochs (Li et al., 2020). hyperband: several of "
        "them, with later first rungs (Li et al., 2018). median: stops what is below the median of "
        "earlier trials at the same epoch.",
    )
    grace_epochs: int = Field(5, ge=1, description="First rung in epochs: none is stopped before.")
    reduction_factor: int = Field(
        3, ge=2, description="asha and hyperband let about one in this many pass each rung."
    )
    folds: int | None = Field(
        None,
        ge=2,
        description="Trials are trained on so many folds by group, one after the other, and "
        "counted over them; all but the test split is dealt, as by data.split.folds. The pruner "
        "stops trials before the next fold, too. Each fold has train.epochs. None: one validation "
        "split.",
    )
    prior_share: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Share of the proposals that are drawn near a baseline, or one of the best "
        "trials of the studies in warm_start, where that is better than most of what the sampler "
        "finds by itself. It falls as trials end.",
    )
    repeats_of_best: int = Field(
        0,
        ge=0,
        description="Times that the leading config is trained again, with other seeds, once the "
        "startup trials have ended: within num_trials, never pruned. The best config is then the "
        "one with the highest mean among those that had all their trainings.",
    )
    objective: Literal["mean_foreground_dice", "worst_class_dice", "weighted_dice"] = Field(
        "mean_foreground_dice",
        description="Maximised; a trial's value is its best epoch's. From counted pixels of the "
        "validation split, background left out.",
    )
    class_weights: dict[str, Annotated[float, Field(ge=0)]] = Field(
        {}, description="Weights of weighted_dice: class name to weight, 1 where not named."
    )
    minimize: tuple[Literal["parameters", "gflops", "latency_ms"], ...] = Field(
        (),
        description="Minimised beside the objective, as a Pareto front; the pruner is then asha, "
        "which stops what others beat in every objective, or none. gflops: "
        "of one forward pass of one image. latency_ms: measured in the worker, milliseconds an "
        "image.",
    )
    max_parameters: int | None = Field(
        None, gt=0, description="A config with more parameters is not trained."
    )
    max_gflops: float | None = Field(
        None, gt=0, description="Most GFLOP (10**9) of one forward pass of one image."
    )
    max_memory_gb: float | None = Field(
        None, gt=0, description="Most training memory of one trial, predicted, in GB (10**9 bytes)."
    )
    max_latency_ms: float | None = Field(
        None,
        gt=0,
        description="Most milliseconds an image: predicted from GFLOP once three trials are "
        "measured; a trial that is measured above it is stopped.",
    )
    pruning_metric: Literal["objective", "soft_foreground_dice", "negative_validation_loss"] = (
        Field(
            "soft_foreground_dice",
            description="What the pruner compares. Hard Dice is zero for rare classes during the "
            "first epochs, where it would prune by ties; the soft one already tells trials apart.",
        )
    )
    num_trials: int | None = Field(20, ge=1, description="Trials in all, baselines included.")
    time_budget_minutes: float | None = Field(
        None, gt=0, description="Wall time of one run; running again goes on with a new budget."
    )
    stop_when: StopWhen | None = Field(
        None,
        description="Propose no more once enough is found and the baselines are begun; trials that "
        "run go on.",
    )
    baselines: tuple[Baseline, ...] = Field((), description="Tried first, in this order.")
    prune_baselines: bool = Field(
        False,
        description="Whether the pruner may stop baselines early; what is found can then not be "
        "compared with them fairly. Their values count for the pruner in either case.",
    )
    keep_models: Literal["all"] | Annotated[int, Field(ge=0)] = Field(
        5,
        description="Whose model is kept, of trials that were stopped early or failed: those among "
        "so many best of all trials, 0 for none, or all. Trials that ended by themselves and "
        "baselines keep theirs.",
    )
    score_at_end: bool = Field(
        True,
        description="Whether a run that has come to its end scores the best trial and the "
        "baselines image by image, at the images' own size, for the report.",
    )
    score_flips: Flips = Field(
        "none",
        description="Mirror images whose answers are averaged where run, score and confirm score "
        "models: horizontal takes twice, all 4 times as long. Trials are chosen without.",
    )
    warm_start: tuple[Path, ...] = Field(
        (),
        description="Directories of earlier studies of the same data and objective, whose finished "
        "trials the sampler learns from; --from adds one.",
    )


class PipelineSettings(ConfigSection):
    """How trials get their training images: a pipeline each, or one for all."""

    sharing: Literal["auto", "service", "local"] = Field(
        "auto",
        description="service: all trials read one augmented stream (tf.data service), not "
        "reproducible to the bit. local: each trial has its own, seeded and reproducible. auto: "
        "service on a cluster of four trials at once or more, where it takes no trial's place.",
    )
    workers_per_node: int = Field(1, ge=1, description="Processes that augment, on each node.")
    cpus_per_worker: int = Field(
        1, ge=1, description="CPU cores and threads of each; Ray reserves them."
    )
    cache_mb: int = Field(
        256,
        ge=16,
        description="Memory (10**6 bytes) in which each process keeps what it has served, of each "
        "pipeline. A trial that falls further behind than that skips.",
    )
    compression: Literal["none", "snappy"] = Field(
        "none", description="Of images between nodes; within a single node there is none."
    )
    max_outstanding_requests: int = Field(
        4, ge=1, description="Chunks of at most about 1 MB (10**6 bytes) that a trial reads ahead."
    )
    patience_seconds: float = Field(
        60,
        gt=0,
        description="A trial that gets no image for so long goes on with its own pipeline.",
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


class ResourceSettings(ConfigSection):
    """What one trial gets, and where Ray is."""

    cpus_per_trial: float = Field(1, gt=0, description="CPU cores; TensorFlow's threads follow.")
    gpus_per_trial: Literal["auto"] | Annotated[float, Field(ge=0)] = Field(
        0.0,
        description="GPUs; a fraction shares one, and its memory by the same fraction. auto: the "
        "smallest of 1/8, 1/4, 1/2 and 1 whose memory covers what the trial is predicted to need; "
        "none where the cluster has none.",
    )
    memory_per_trial: Literal["auto"] | Annotated[float, Field(gt=0)] | None = Field(
        None,
        description="Host memory that Ray reserves for a trial, in GB (10**9 bytes). auto: what "
        "the trial is predicted to need. None: not reserved.",
    )
    max_concurrent: int | None = Field(
        None, ge=1, description="Most trials at once. None: as many as the cluster has room for."
    )

    # Before pydantic tries the types one by one and tells a problem of each.
    @field_validator("gpus_per_trial", mode="before")
    @classmethod
    def _auto_or_gpus(cls, value: Any) -> Any:
        if value == "auto" or (_is_number(value) and value >= 0):
            return value
        raise ValueError(f"expected auto or a number >= 0, received {value!r}")

    @field_validator("memory_per_trial", mode="before")
    @classmethod
    def _auto_or_memory(cls, value: Any) -> Any:
        if value is None or value == "auto" or (_is_number(value) and value > 0):
            return value
        raise ValueError(f"expected auto, null or GB > 0, received {value!r}")

    @field_validator("gpus_per_trial")
    @classmethod
    def _whole_or_shared(cls, value: float | str) -> float | str:
        if not isinstance(value, str) and value > 1 and value != int(value):
            raise ValueError(f"expected a share of one GPU or whole GPUs, received {value}")
        return value

    max_failures: int = Field(
        3,
        ge=0,
        description="Times in a row, without a finished epoch between them, that a trial may lose "
        "its worker or hang before it is FAIL. Counted in the study, over all runs.",
    )
    trial_timeout_minutes: float | None = Field(
        120,
        gt=0,
        description="A worker that reports nothing for so long hangs: it is killed and its trial "
        "goes on elsewhere. Longer than the longest epoch on the fastest node; slower nodes have "
        "as many times as long as they are measured to be slower. None: never.",
    )
    storage_patience_minutes: float = Field(
        30,
        ge=0,
        description="How long a run waits for a storage that is full, read-only or gone, before it "
        "stops, to be continued by running again.",
    )
    stop_grace_seconds: float = Field(
        20,
        ge=0,
        description="How long Ctrl-C and SIGTERM let epochs in flight end.",
    )
    worker_memory_limit_gb: float | None = Field(
        2,
        gt=0,
        description="A process that holds more between two trials, mapped data not counted, is "
        "replaced. None: never.",
    )
    ray_address: str | None = Field(
        None,
        description="Address of a running Ray cluster: auto, HOST:PORT or ray://HOST:PORT; local: "
        "start one here. None: RAY_ADDRESS where that is set, else local.",
    )
    num_cpus: int | None = Field(
        None, ge=1, description="Cores of the Ray started here. None: all of the machine's."
    )
    min_free_disk_gb: float = Field(
        1.0,
        ge=0,
        description="No run starts while a node has less free in the study directory or in Ray's "
        "own folder, in GB (10**9 bytes).",
    )
