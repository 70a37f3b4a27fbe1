"""The names of a study's files, each written here alone; docs/study-directory.md explains them."""

from __future__ import annotations

# Of the study
STUDY = "study.yaml"
DATA = "data.json"
PIPELINE = "pipeline.json"
JOURNAL = "optuna.journal"
LOCK = "run.lock"
RUN_LOG = "run.log"
REFUSED = "refused.jsonl"
DUPLICATES = "duplicates.jsonl"
TRIALS = "trials"

# Of a trial, of a confirmation's training, of a training for production
TRIAL = "trial.json"
METRICS = "metrics.jsonl"
MODEL = "best.keras"
LAST = "last.npz"
PREVIOUS = "previous.npz"
OWNER = "owner"
WORKER = "worker.json"
WORKER_LOG = "worker.log"
ERROR = "error.txt"

# Of a training for production
TRAINING = "training.yaml"

# Of an export
CONFIG = "best.yaml"
CARD = "MODEL_CARD.md"
