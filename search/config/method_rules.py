"""Which samplers, pruners, objectives and limits go together, checked when a config is loaded."""

from __future__ import annotations

from collections.abc import Iterator

from search.config.limits import broken_by, demand_of
from search.config.schema import StudyConfig
from search.config.space import ChoiceDistribution, FloatDistribution

Problem = tuple[str, str]


def method_problems(config: StudyConfig) -> Iterator[Problem]:
    """Yield (dotted field, problem) for what cannot work together."""
    yield from _pruner_problems(config)
    yield from _objective_problems(config)
    if config.search.sampler == "grid":
        yield from _grid_problems(config)
    if config.search.sampler == "cma-es":
        yield from _cma_es_problems(config)
    # The data decide how many classes there are; at least two is all that is known here.
    yield from baseline_limit_problems(config, len(config.data.classes or ()) or 2)


def _pruner_problems(config: StudyConfig) -> Iterator[Problem]:
    epochs = max(config.values("train.epochs")) * (config.search.folds or 1)
    if config.search.pruner != "none" and config.search.grace_epochs > epochs:
        yield (
            "search.grace_epochs",
            f"expected at most train.epochs = {epochs}, received {config.search.grace_epochs}",
        )


def _objective_problems(config: StudyConfig) -> Iterator[Problem]:
    search = config.search
    if search.class_weights and search.objective != "weighted_dice":
        yield (
            "search.class_weights",
            f"expected objective 'weighted_dice' with them, received {search.objective!r}",
        )
    if not search.minimize:
        return
    if len(set(search.minimize)) < len(search.minimize):
        yield "search.minimize", f"expected distinct names, received {list(search.minimize)}"
    if search.repeats_of_best:
        yield (
            "search.repeats_of_best",
            "expected 0 with search.minimize: of several objectives none tells which config leads",
        )
    if search.prior_share:
        yield (
            "search.prior_share",
            "expected 0 with search.minimize: of several objectives none tells what is good",
        )
    if search.stop_when is not None:
        yield (
            "search.stop_when",
            "expected none with search.minimize: of several objectives none is the one to reach",
        )
    if search.pruner not in ("asha", "none"):
        yield (
            "search.pruner",
            "expected 'asha', which compares all objectives, or 'none' with search.minimize, "
            f"received {search.pruner!r}",
        )
    if search.sampler == "cma-es":
        yield (
            "search.sampler",
            "expected tpe, nsga2, gp, qmc, grid or random with search.minimize, received 'cma-es'",
        )


def _grid_problems(config: StudyConfig) -> Iterator[Problem]:
    for name, distribution in config.space.items():
        if not isinstance(distribution, FloatDistribution) or distribution.step is not None:
            continue
        low, high = distribution.extremes()
        if low < high:
            yield (
                name,
                f"expected a step or choices with sampler 'grid', received "
                f"{distribution.to_yaml()}",
            )


def _cma_es_problems(config: StudyConfig) -> Iterator[Problem]:
    numeric = [
        name
        for name, distribution in config.space.items()
        if not isinstance(distribution, ChoiceDistribution)
        and len(set(distribution.extremes())) > 1
    ]
    if config.space and not numeric:
        yield (
            "search.sampler",
            "expected an int or float distribution for 'cma-es', which draws choices at random, "
            f"received choices alone: {', '.join(config.space)}",
        )


def baseline_limit_problems(config: StudyConfig, num_classes: int) -> Iterator[Problem]:
    """Yield a problem for each baseline that is predicted to break a limit.

    Args:
        config: The study.
        num_classes: Classes of the data, the background included.
    """
    for baseline in config.search.baselines:
        if any(
            name not in baseline.params and config.is_searched(name, baseline.params)
            for name in config.space
        ):
            continue  # the sampler draws the others
        try:
            trial = config.at({k: v for k, v in baseline.params.items() if k in config.space})
            demand = demand_of(trial, config.image_shape, num_classes)
        except ValueError:
            continue  # another rule says what is wrong with it
        for reason in broken_by(config.search, demand).values():
            yield "search.baselines", f"{baseline.name!r}: {reason}"
