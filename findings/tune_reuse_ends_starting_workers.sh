#!/usr/bin/env bash
# Ray Tune (2.60.0) with `reuse_actors=True` gives the process of a trial that ended to the first
# pending trial, and ends the process that was already starting for that one. Where processes start
# more slowly than trials end (a large import, a cold node, trials that a scheduler stops early), the
# starting ones are ended again and again: the cluster never fills, and nothing says so.
#
# 40 trials of a second on four CPUs; the first process starts at once, each other one takes eight
# seconds. Output seen on 2026-11-30 on two cores:
#
#   reuse_actors=True   51 s, processes begun: 14, that ever trained: 1, most trials by one: 40
#
# Four processes that are waited for would need some 18 s, as reckoned. The trial is named by the scheduler's
# choose_trial_to_run(); the default FIFOScheduler's goes through all trials at each turn of the loop.
#
# Fails where more than one process trains.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "ray[tune]==2.60.0"

cat > "$folder/measure.py" <<'PYTHON'
import collections
import logging
import os
import pathlib
import sys
import time

os.environ.update(
    RAY_AIR_NEW_OUTPUT="0", TUNE_DISABLE_AUTO_CALLBACK_LOGGERS="1", RAY_USAGE_STATS_ENABLED="0"
)
import ray
from ray import tune

folder = pathlib.Path(sys.argv[1])


def note(name):
    with open(folder / name, "a") as file:
        file.write(f"{os.getpid()}\n")


class Sleeper(tune.Trainable):
    def setup(self, config):
        note("begun")
        try:
            (folder / "first").touch(exist_ok=False)
        except FileExistsError:
            time.sleep(8)

    def reset_config(self, config):
        return True

    def step(self):
        time.sleep(1)
        note("trained")
        return {"done": True}


ray.init(num_cpus=4, include_dashboard=False, logging_level=logging.ERROR, log_to_driver=False)
began = time.time()
tune.Tuner(
    Sleeper,
    tune_config=tune.TuneConfig(num_samples=40, reuse_actors=True),
    run_config=tune.RunConfig(
        storage_path=str(folder / "tune"),
        verbose=0,
        checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
    ),
).fit()
seconds = time.time() - began
begun = set((folder / "begun").read_text().split())
trials = collections.Counter((folder / "trained").read_text().split())
print(
    f"reuse_actors=True   {seconds:.0f} s, processes begun: {len(begun)}, "
    f"that ever trained: {len(trials)}, most trials by one: {max(trials.values())}"
)
if len(trials) > 1:
    sys.exit("changed: more than one process trains")
PYTHON

"$folder/venv/bin/python" "$folder/measure.py" "$folder" 2>/dev/null
echo "as found"
