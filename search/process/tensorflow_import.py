"""TensorFlow's import, as quick and as small as it can be."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Any

from model.processor import use_onednn

# Keras 3.15 imports these where they are installed, to take their tables and wrap their estimators
# (keras/src/wrappers, keras/src/trainers/data_adapters). A process that trains or predicts has no
# use for that, and they are a quarter of the time of TensorFlow's import and 100 MB
# (findings/keras_imports_scikit_learn.sh).
_NOT_NEEDED = ("sklearn", "scipy", "pandas")


def import_tensorflow() -> Any:
    """Import TensorFlow with the kernels that suit the processor; return the module.

    scikit-learn, SciPy and pandas can be imported afterwards as usual. Meanwhile other threads
    cannot import them: call it before there are any.
    """
    use_onednn()
    with _hidden(*_NOT_NEEDED):
        import tensorflow
    return tensorflow


@contextlib.contextmanager
def _hidden(*names: str) -> Iterator[None]:
    """Let imports find no package of these names, but for those that are loaded already."""
    hidden = [name for name in names if name not in sys.modules]
    # None there is Python's own sign that an import is to fail.
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]
