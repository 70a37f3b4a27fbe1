"""How many epochs each sampler and pruner needs to find what random search finds.

    python benchmarks/search_quality.py record            # trains the whole grid: 50 minutes
    python benchmarks/search_quality.py compare --out table.md
    python benchmarks/search_quality.py priors --seeds 40 # proposals near good and bad baselines

``record`` trains every config of a small grid on the embedded synthetic tiles and keeps each
epoch's validation Dice in ``landscape.json``. ``compare`` then searches this recorded landscape,
where a trial costs nothing but its proposal, so that every method is run over many seeds.
``priors`` does so with a baseline that is good, middling or bad, and ``search.prior_share``.
"""

from __future__ import annotations

import argparse
import gc
import importlib.util
import itertools
import json
import math
import os
import statistics
import tempfile
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import optuna
import pandas as pd

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

HERE = Path(__file__).parent
LANDSCAPE = HERE / "landscape.json"
EPOCHS = 27
RANDOM_TRIALS = 40
MOST_TRIALS = 400
MOST_EPOCHS = 100 * EPOCHS
I_EPOCHS = (1, 3, 5, 9)
TRIALS_BEFORE_ONE_IN_FULL = 10
RATES = [3e-4, 1e-3, 2e-3, 4e-3, 1e-2, 3e-2]
GRID: dict[str, list[Any]] = {
    "model.num_layers": [2, 3, 4],
    "model.base_filters": [4, 8],
    "model.base_kernel": [3, 5],
    "model.normalization": ["batch", "none"],
    "model.dropout_rate": [0.0, 0.1],
    "train.learning_rate": RATES,
}


def study_tree(source: Path) -> dict[str, Any]:
    """The config whose grid is recorded: 32-pixel tiles, epochs of 16 small batches."""
    return {
        "study": {"name": "landscape", "storage_path": str(source.parent), "seed": 7},
        "data": {"source": str(source), "image_size": 32},
        "augment": {"sampling": "balanced", "elastic": 0},
        "model": {"num_layers": {"int": [2, 4]}, "base_filters": {"choice": [4, 8]},
                  "base_kernel": {"choice": [3, 5]}, "dropout_rate": {"choice": [0.0, 0.1]},
                  "normalization": {"choice": ["batch", "none"]}},
        "train": {"epochs": EPOCHS, "steps_per_epoch": 16, "batch_size": 8,
                  "learning_rate": {"choice": RATES}},
        "search": {"num_trials": 1, "pruner": "none", "pruning_metric": "objective"},
    }  # fmt: skip


def record() -> None:
    """Train the grid and write the landscape; what is there already is not trained again."""
    from data_pipeline.datasets.synthetic import write_synthetic
    from data_pipeline.stores.prepare import prepare
    from search.config.loading import config_from_tree
    from search.process.resources import WorkerResources
    from search.process.setup import set_up_process

    set_up_process(WorkerResources(cpus=1))
    known = json.loads(LANDSCAPE.read_text()) if LANDSCAPE.exists() else {"configs": []}
    done = {json.dumps(entry["params"]) for entry in known["configs"]}
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "tiles"
        write_synthetic(source, seed=0, tiles=120)
        config = config_from_tree(study_tree(source))
        store = prepare(config.data)
        for values in itertools.product(*GRID.values()):
            params = dict(zip(GRID, values, strict=True))
            if json.dumps(params) in done:
                continue
            started = time.perf_counter()
            curve = train(config.at(params), store, Path(folder) / "run")
            known["configs"].append({"params": params, "dice": curve})
            LANDSCAPE.write_text(json.dumps(known, separators=(",", ":")) + "\n")
            seconds = time.perf_counter() - started
            print(f"{len(known['configs'])}: best {max(curve):.3f}, {seconds:.1f} s", flush=True)


def train(config: Any, store: Any, folder: Path) -> list[float]:
    """Return the objective of every epoch, the undefined as 0; what is not a number ends it."""
    import shutil

    import keras

    from model.training import NonFiniteLoss
    from search.training.trial_run import TrialRun

    shutil.rmtree(folder, ignore_errors=True)
    run = TrialRun(config, store, folder)
    try:
        while not run.done:
            run.step()
    except NonFiniteLoss:
        pass
    curve = [round(epoch.objective or 0.0, 4) for epoch in run.epochs]
    del run
    keras.backend.clear_session(free_memory=True)
    gc.collect()
    return curve + [curve[-1] if curve else 0.0] * (EPOCHS - len(curve))


def tree_of(
    folder: Path,
    sampler: str,
    pruner: str,
    seed: int,
    grace: int | None,
    **more: Any,
) -> dict[str, Any]:
    """The search of the recorded grid by one method; what is not said is as the defaults are."""
    tree = study_tree(folder / "tiles")
    tree["study"]["seed"] = seed
    tree["search"] = {
        "sampler": sampler, "pruner": pruner, "startup_trials": 10, "num_trials": MOST_TRIALS,
        "pruning_metric": "objective", **({"grace_epochs": grace} if grace else {}), **more,
    }  # fmt: skip
    return tree


def correlations(curves: list[list[float]]) -> str:
    """Say how well the best Dice so far tells the final one (Spearman), and how many are zero."""
    frame = pd.DataFrame(curves).cummax(axis=1)
    parts = []
    for epoch in (1, 3, 5, 9, 13):
        early = frame[epoch - 1]
        rank = early.rank().corr(frame[EPOCHS - 1].rank())
        parts.append(f"{rank:.2f} at epoch {epoch} ({(early < 1e-6).mean():.0%} are 0)")
    return f"Rank correlation of the best Dice so far with the final one: {', '.join(parts)}."


def search(
    curves: dict[str, list[float]],
    sampler: str,
    pruner: str,
    seed: int,
    grace: int | None = None,
    sample: int | None = None,
    target: float = math.inf,
    **more: Any,
) -> list[tuple[int, float]]:
    """Search the landscape, one trial at a time, as a search does: repeats cost nothing.

    Args:
        curves: The Dice of every epoch, by the point of the grid.
        sampler: By its name in the config.
        pruner: By its name in the config.
        seed: Of the study.
        grace: Epochs before the first pruning; None: the default.
        sample: Finished trials that tpe looks at beside the best; None: the default.
        target: Dice at which to end.
        more: Further fields of the section search.

    Returns:
        (epochs spent so far, best Dice so far) after each epoch that was better than all before.
    """
    with tempfile.TemporaryDirectory() as folder:
        tree = tree_of(Path(folder), sampler, pruner, seed, grace, **more)
        return _search(curves, *_study(tree, seed, sample), target)


def _study(tree: dict[str, Any], seed: int, sample: int | None) -> tuple[optuna.Study, Any]:
    """Return a study, and what proposes to it."""
    from search.config.loading import config_from_tree
    from search.study.attributes import BASELINE
    from search.study.bounded_tpe import BoundedTPESampler
    from search.study.proposer import Proposer
    from search.study.samplers import make_pruner, make_sampler

    config = config_from_tree(tree)
    config.directory.mkdir(parents=True)
    method = make_sampler(config, seed)
    if isinstance(method, BoundedTPESampler) and sample is not None:
        method = BoundedTPESampler(config.search.startup_trials, seed, sample)
    study = optuna.create_study(direction="maximize", sampler=method, pruner=make_pruner(config))
    for baseline in config.search.baselines:
        study.enqueue_trial(dict(baseline.params), user_attrs={BASELINE: baseline.name})
    return study, Proposer(study, config)


def _search(
    curves: dict[str, list[float]], study: optuna.Study, proposer: Any, target: float
) -> list[tuple[int, float]]:
    spent, best, gains = 0, -1.0, []
    while spent < MOST_EPOCHS and best < target and (trial := proposer.next()):
        curve, pruned = curves[key_of(trial.params)], False
        for epoch, dice in enumerate(curve, start=1):
            spent += 1
            if dice > best:
                best = dice
                gains.append((spent, best))
            trial.report(dice, epoch)
            if epoch < len(curve) and trial.should_prune():
                pruned = True
                break
        state = optuna.trial.TrialState.PRUNED if pruned else optuna.trial.TrialState.COMPLETE
        proposer.ended(study.tell(trial, None if pruned else max(curve), state=state))
    return gains


def search_by_i_epochs(
    curves: dict[str, list[float]], sampler: str, epochs: int, seed: int
) -> list[tuple[int, float]]:
    """Search as :func:`search` does, every trial stopped after i epochs.

    After each ten trials the best of them that has not been trained in full is: "i-Epoch" (Egele et
    al., "The Unreasonable Effectiveness Of Early Discarding After One Epoch In Neural Network
    Hyperparameter Optimization", arXiv 2404.04111), which trains the best in full at the end, where
    the end is not known. The sampler is told the best of the i epochs.
    """
    with tempfile.TemporaryDirectory() as folder:
        study, proposer = _study(tree_of(Path(folder), sampler, "none", seed, None), seed, None)
        spent, best, gains = 0, -1.0, []
        waiting: list[tuple[float, list[float]]] = []

        def train(values: list[float]) -> None:
            nonlocal spent, best
            for dice in values:
                spent += 1
                if dice > best:
                    best = dice
                    gains.append((spent, best))

        while spent < MOST_EPOCHS and (trial := proposer.next()):
            curve = curves[key_of(trial.params)]
            train(curve[:epochs])
            waiting.append((max(curve[:epochs]), curve))
            proposer.ended(study.tell(trial, max(curve[:epochs])))
            if len(study.trials) % TRIALS_BEFORE_ONE_IN_FULL == 0:
                chosen = max(waiting, key=lambda each: each[0])
                waiting.remove(chosen)
                train(chosen[1][epochs:])
        return gains


def key_of(params: Mapping[str, Any]) -> str:
    """Return what tells a point of the grid from the others."""
    return json.dumps({name: params[name] for name in GRID})


def epochs_until(gains: list[tuple[int, float]], target: float) -> float:
    """Return the epochs spent when a Dice was reached; infinity where it was not."""
    return next((float(spent) for spent, best in gains if best >= target), math.inf)


def compare(
    seeds: int, grace: int | None, out: Path | None, only: list[str], sample: int | None
) -> None:
    """Search the landscape by every method, or some and random, and write the table."""
    from search.study.samplers import NEEDED, PRUNERS, SAMPLERS

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    entries = json.loads(LANDSCAPE.read_text())["configs"]
    curves = {key_of(entry["params"]): entry["dice"] for entry in entries}
    if len(curves) < math.prod(map(len, GRID.values())):
        raise SystemExit(f"{LANDSCAPE}: {len(curves)} configs; expected all: run record")
    budget = RANDOM_TRIALS * EPOCHS
    random = [search(curves, "random", "none", seed) for seed in range(seeds)]
    target = statistics.median(max(b for spent, b in g if spent <= budget) for g in random)
    samplers = [s for s in SAMPLERS if s not in NEEDED or importlib.util.find_spec(NEEDED[s][0])]
    rows = []
    samplers = [s for s in samplers if not only or s in (*only, "random")]
    for sampler, pruner in itertools.product(samplers, PRUNERS):
        started = time.perf_counter()
        runs = [search(curves, sampler, pruner, seed, grace, sample) for seed in range(seeds)]
        rows.append((sampler, pruner, sorted(epochs_until(run, target) for run in runs)))
        print(sampler, pruner, f"{time.perf_counter() - started:.0f} s", flush=True)
    for sampler, epochs in itertools.product(samplers, I_EPOCHS):
        runs = [search_by_i_epochs(curves, sampler, epochs, seed) for seed in range(seeds)]
        reached = sorted(epochs_until(run, target) for run in runs)
        rows.append((sampler, f"{epochs} epochs each", reached))
    text = table(rows, target, len(curves), seeds, max(max(c) for c in curves.values()))
    text += f"\n{correlations(list(curves.values()))}\n"
    print(text)
    if out is not None:
        out.write_text(text, encoding="utf-8")


SHARES = (0.0, 0.25, 0.5, 0.75)
# Places in the ranking of the landscape, from its worst config to its best.
QUALITIES = {"very good": 0.95, "good": 0.8, "middling": 0.5, "bad": 0.1}


def compare_priors(seeds: int, out: Path | None) -> None:
    """Search with a baseline of a known quality, and a share of proposals near it."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    entries = json.loads(LANDSCAPE.read_text())["configs"]
    curves = {key_of(entry["params"]): entry["dice"] for entry in entries}
    ranked = sorted(entries, key=lambda entry: max(entry["dice"]))
    budget = RANDOM_TRIALS * EPOCHS
    random = [search(curves, "random", "none", seed) for seed in range(seeds)]
    target = statistics.median(max(b for spent, b in g if spent <= budget) for g in random)
    lines = [
        f"{datetime.now(UTC):%Y-%m-%d}. tpe and asha, target {target:.3f}, {seeds} seeds. "
        "Baselines: five configs around a place of the landscape's ranking, one a seed in turn.",
        "",
        "| baseline | its Dice | share | epochs until the target: quartiles | against none |",
        "|---|---:|---:|---:|---:|",
    ]
    for quality, place in QUALITIES.items():
        middle = round(place * (len(ranked) - 1))
        chosen = ranked[middle - 2 : middle + 3]
        base = math.nan
        for share in SHARES:
            runs = []
            for seed in range(seeds):
                params = chosen[seed % len(chosen)]["params"]
                given = {"baselines": [{"name": quality, "params": params}], "prior_share": share}
                runs.append(search(curves, "tpe", "asha", seed, target=target, **given))
            low, mid, high = _quartiles(sorted(epochs_until(run, target) for run in runs))
            base = mid if share == 0 else base
            dice = statistics.median(max(entry["dice"]) for entry in chosen)
            lines.append(
                f"| {quality} | {dice:.3f} | {share:g} | {low:.0f} / {mid:.0f} / {high:.0f} | "
                f"{mid / base:.2f}x |"
            )
            print(lines[-1], flush=True)
    if out is not None:
        out.write_text("\n".join(lines) + "\n", encoding="utf-8")


def table(
    rows: list[tuple[str, str, list[float]]], target: float, size: int, seeds: int, top: float
) -> str:
    """Return the comparison as markdown: quartiles over the seeds, and the ratio to random."""
    base = next(_quartiles(r[2])[1] for r in rows if r[:2] == ("random", "none"))
    lines = [
        f"{datetime.now(UTC):%Y-%m-%d}. {size} configs, their best Dice {top:.3f}; target "
        f"{target:.3f}, the median over {seeds} seeds of what random search finds in "
        f"{RANDOM_TRIALS} trials of {EPOCHS} epochs.",
        "",
        "| sampler | pruner | epochs until the target: quartiles | against random |",
        "|---|---|---:|---:|",
    ]
    for sampler, pruner, epochs in sorted(rows, key=lambda row: _quartiles(row[2])[1]):
        low, middle, high = _quartiles(epochs)
        shown = " / ".join("–" if math.isinf(q) else f"{q:.0f}" for q in (low, middle, high))
        ratio = "–" if math.isinf(middle) else f"{middle / base:.2f}x"
        lines.append(f"| {sampler} | {pruner} | {shown} | {ratio} |")
    return "\n".join(lines) + "\n"


def _quartiles(values: list[float]) -> tuple[float, float, float]:
    """Return values of the sorted ones that were measured: infinities cannot be averaged."""
    last = len(values) - 1
    return values[round(last / 4)], values[round(last / 2)], values[round(3 * last / 4)]


def main() -> None:
    """Record or compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("command", choices=["record", "compare", "priors"])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--grace", type=int, help="the first rung, in epochs; else the default")
    parser.add_argument("--only", nargs="*", default=[], help="samplers; else all")
    parser.add_argument("--sample", type=int, help="trials that tpe looks at beside the best")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if options.command == "record":
        record()
    elif options.command == "priors":
        compare_priors(options.seeds, options.out)
    else:
        compare(options.seeds, options.grace, options.out, options.only, options.sample)


if __name__ == "__main__":
    main()
