"""The attributes of Optuna's trials in which a study keeps what it knows of each."""

from __future__ import annotations

import numpy as np
from optuna.trial import FrozenTrial

BASELINE = "baseline"


BEST_EPOCH = "best_epoch"


BEST_VALUE = "best_value"


EPOCHS = "epochs"


REASON = "reason"


COST = "cost"


SEED = "seed"


SHARE = "share"


STOPPED = "stopped"


IDENTITY = "identity"


FAILURES = "failures"


RESERVED = "reserved"


VALUES = "values"


LIMIT = "limit"


REFUSED = "refused"


DUPLICATE_OF = "duplicate_of"


FROM_STUDY = "from_study"


REPEAT_OF = "repeat_of"


PRIOR = "prior"


def derive_seed(*parts: int) -> int:
    """Return a seed of 31 bits that is independent for each tuple of parts (NumPy SeedSequence)."""
    return int(np.random.SeedSequence(parts).generate_state(1)[0] >> 1)


def is_own(trial: FrozenTrial) -> bool:
    """Return whether a trial is trained in this study, not refused or copied from another."""
    attributes = trial.user_attrs
    return not any(attributes.get(key) is not None for key in (REFUSED, DUPLICATE_OF, FROM_STUDY))
