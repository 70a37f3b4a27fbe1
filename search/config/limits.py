"""What a trial may cost: predicted from its config before it is trained, measured after.

A limit is broken by an excess above 0; the excess is relative to the limit, so that those of
different units add up in Optuna's samplers.
"""

from __future__ import annotations

from collections.abc import Mapping

from model.cost import MemoryEstimate, estimate_cost, training_memory
from model.processor import Kernels
from search.config.settings import SearchSettings
from search.config.trial import TrialConfig

PARAMETERS = "parameters"
GFLOPS = "gflops"
MEMORY = "memory"
LATENCY = "latency_ms"

# Name of the constraint in the study: the config's field, and how a value is told.
FIELDS: Mapping[str, tuple[str, str]] = {
    PARAMETERS: ("max_parameters", "{:,.0f} parameters"),
    GFLOPS: ("max_gflops", "{:.4g} GFLOP an image"),
    MEMORY: ("max_memory_gb", "{:.3g} GB of memory"),
    LATENCY: ("max_latency_ms", "{:.4g} ms an image"),
}


def demand_of(
    trial: TrialConfig, image_shape: tuple[int, int, int], num_classes: int
) -> dict[str, float]:
    """Return what a trial is predicted to need, by the names of :data:`FIELDS` but latency.

    Parameters; GFLOP (10**9) of one forward pass of one image; GB (10**9 bytes) that the process of
    its training holds at its peak, with oneDNN's kernels, as a common measure.

    Raises:
        ValueError: for image sides that cannot be halved often enough.
    """
    cost = estimate_cost(trial.model, image_shape, num_classes)
    memory = memory_of(trial, image_shape, num_classes, "onednn")
    return {PARAMETERS: cost.parameters, GFLOPS: cost.flops / 1e9, MEMORY: memory.total / 1e9}


def memory_of(
    trial: TrialConfig, image_shape: tuple[int, int, int], num_classes: int, kernels: Kernels
) -> MemoryEstimate:
    """Return the memory that the process of a trial's training is predicted to need.

    Args:
        trial: Its config.
        image_shape: (height, width, channels) of the images, in pixels.
        num_classes: Classes of the data, the background included.
        kernels: Whose convolutions TensorFlow uses.

    Raises:
        ValueError: for image sides that cannot be halved often enough.
    """
    window = trial.augment.window_shape(image_shape)
    return training_memory(
        trial.model,
        window,
        num_classes,
        trial.train.batch_size,
        trial.train.precision,
        averaged=trial.train.weight_averaging > 0,
        whole_shape=None if window == image_shape else image_shape,
        kernels=kernels,
    )


def bounds(search: SearchSettings) -> dict[str, float]:
    """Return the limits that are set, by the names of :data:`FIELDS`."""
    values = {name: getattr(search, field) for name, (field, _) in FIELDS.items()}
    return {name: value for name, value in values.items() if value is not None}


def excesses(search: SearchSettings, demand: Mapping[str, float]) -> dict[str, float]:
    """Return value / limit - 1 for each limit that is set and whose value is known."""
    limits = bounds(search)
    return {name: demand[name] / limit - 1 for name, limit in limits.items() if name in demand}


def broken_by(search: SearchSettings, demand: Mapping[str, float]) -> dict[str, str]:
    """Return a sentence for each limit that a demand breaks."""
    limits = bounds(search)
    return {
        name: f"expected at most {FIELDS[name][0]} = {limits[name]:,}, predicted "
        + FIELDS[name][1].format(demand[name])
        for name, excess in excesses(search, demand).items()
        if excess > 0
    }


def needs_latency(search: SearchSettings) -> bool:
    """Return whether a trial's milliseconds an image must be measured."""
    return search.max_latency_ms is not None or LATENCY in search.minimize
