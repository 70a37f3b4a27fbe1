"""What TPE finds in long studies by looking at a sample of the trials instead of all.

    python benchmarks/tpe_sample.py --trials 2000 --seeds 5

Searches two functions whose best value is 1 with noise, on 64 slots of four epochs with ASHA, in
virtual time: Hartmann's of six numbers (Dixon and Szegö, 1978), and one of the kind of a model's
hyper-parameters, with choices and integers.
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import math
import random
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import TrialState

from search.study.asha import AshaPruner
from search.study.bounded_tpe import BoundedTPESampler

EPOCHS = 4
WEIGHTS = np.array([1, 1.2, 3, 3.2])
SCALES = np.array([
    [10, 3, 17, 3.5, 1.7, 8], [0.05, 10, 17, 0.1, 8, 14],
    [3, 3.5, 1.7, 10, 17, 8], [17, 8, 0.05, 10, 0.1, 14],
])  # fmt: skip
CENTRES = 1e-4 * np.array([
    [1312, 1696, 5569, 124, 8283, 5886], [2329, 4135, 8307, 3736, 1004, 9991],
    [2348, 1451, 3522, 2883, 3047, 6650], [4047, 8828, 8732, 5743, 1091, 381],
])  # fmt: skip
LARGEST = 3.32237

NUMBERS: dict[str, BaseDistribution] = {f"x{i}": FloatDistribution(0, 1) for i in range(6)}
MODELS: dict[str, BaseDistribution] = {
    "rate": FloatDistribution(1e-5, 1e-1, log=True),
    "dropout": FloatDistribution(0, 0.5),
    "layers": IntDistribution(3, 7),
    "filters": CategoricalDistribution((8, 16, 32, 64)),
    "activation": CategoricalDistribution(("relu", "mish", "elu")),
    "loss": CategoricalDistribution(("dice", "focal", "tversky", "ce", "both")),
    "decay": FloatDistribution(1e-6, 1e-2, log=True),
}
FILTERS = {8: 0.8, 16: 0.92, 32: 1, 64: 0.97}
ACTIVATIONS = {"relu": 1, "mish": 0.95, "elu": 0.85}
LOSSES = {"dice": 0.9, "focal": 1, "tversky": 0.97, "ce": 0.8, "both": 0.93}


def hartmann(params: Mapping[str, Any]) -> float:
    """Return Hartmann's function of six numbers, over its largest value."""
    point = np.array([params[name] for name in NUMBERS])
    peaks = np.exp(-(SCALES * (point - CENTRES) ** 2).sum(axis=1))
    return float((WEIGHTS * peaks).sum() / LARGEST)


def model(params: Mapping[str, Any]) -> float:
    """Return a worth of hyper-parameters, some of which depend on others."""
    worth = math.exp(-abs(math.log10(params["rate"]) + 3 + 0.2 * (params["layers"] - 5)))
    worth *= 1 - 0.4 * abs(params["dropout"] - 0.1 - 0.1 * (params["filters"] > 16))
    worth *= 1 - 0.06 * abs(params["layers"] - 6)
    worth *= 1 - 0.03 * abs(math.log10(params["decay"]) + 4)
    worth *= FILTERS[params["filters"]] * LOSSES[params["loss"]]
    return worth * ACTIVATIONS[params["activation"]]


# Each with its space and the deviation of its noise.
FUNCTIONS: dict[str, tuple[dict[str, BaseDistribution], Callable[..., float], float]] = {
    "hartmann": (NUMBERS, hartmann, 0.05),
    "model": (MODELS, model, 0.03),
}


def run(
    sampler: BaseSampler,
    space: dict[str, BaseDistribution],
    worth: Callable[[Mapping[str, Any]], float],
    noise: float,
    trials: int,
    seed: int,
) -> tuple[float, float]:
    """Search once.

    Returns:
        (worth of the trial with the best value, mean worth of the last quarter of the trials)
    """
    study = optuna.create_study(direction="maximize", sampler=sampler, pruner=AshaPruner(1, 2))
    chance, queue = random.Random(seed), list[tuple[float, int, optuna.Trial, int]]()
    worths, best, begun = list[float](), (-math.inf, 0.0), 0
    now = 0.0
    while queue or not begun:
        while len(queue) < 64 and begun < trials:
            trial = study.ask(space)
            heapq.heappush(queue, (now + chance.uniform(0.8, 1.2), trial.number, trial, 1))
            begun += 1
        now, number, trial, epoch = heapq.heappop(queue)
        true = worth(trial.params)
        value = (true + chance.gauss(0, noise)) * (1 - 0.5**epoch)
        trial.report(value, epoch)
        if epoch < EPOCHS and not trial.should_prune():
            heapq.heappush(queue, (now + chance.uniform(0.8, 1.2), number, trial, epoch + 1))
            continue
        worths.append(true)
        if epoch == EPOCHS:
            best = max(best, (value, true))
            study.tell(trial, value)
        else:
            study.tell(trial, state=TrialState.PRUNED)
    return best[1], statistics.mean(worths[-trials // 4 :])


def main() -> None:
    """Search by every sampler and print one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=2_000)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--samples", type=int, nargs="*", default=[500])
    parser.add_argument("--functions", nargs="*", choices=FUNCTIONS, default=list(FUNCTIONS))
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    samplers: dict[str, Callable[[int], BaseSampler]] = {
        "all (Optuna's)": lambda seed: TPESampler(seed=seed),
        **{
            f"the best and {n}": lambda seed, n=n: BoundedTPESampler(seed=seed, sample=n)
            for n in options.samples
        },
        "random": lambda seed: RandomSampler(seed=seed),
    }
    print("| function | looks at | worth of the best | of the last quarter | CPU, s a search |")
    print("|---|---|---:|---:|---:|")
    for name, (looks, make) in itertools.product(options.functions, samplers.items()):
        space, worth, noise = FUNCTIONS[name]
        started = time.process_time()
        found = [
            run(make(seed), space, worth, noise, options.trials, seed)
            for seed in range(options.seeds)
        ]
        seconds = (time.process_time() - started) / options.seeds
        best, last = (statistics.median(values) for values in zip(*found, strict=True))
        print(f"| {name} | {looks} | {best:.3f} | {last:.3f} | {seconds:.0f} |", flush=True)


if __name__ == "__main__":
    main()
