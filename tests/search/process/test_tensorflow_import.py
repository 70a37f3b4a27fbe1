from __future__ import annotations

import subprocess
import sys


def run(code: str) -> str:
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_tensorflow_comes_without_what_is_not_needed_and_that_can_be_imported_later() -> None:
    code = """
import sys
from search.process.tensorflow_import import import_tensorflow
tf = import_tensorflow()
print(sorted({"sklearn", "scipy", "pandas"} & set(sys.modules)))
import keras, sklearn, scipy.stats, pandas
print(float(tf.reduce_sum(keras.ops.ones(3))), pandas.DataFrame({"a": [1]}).shape)
"""

    assert run(code).splitlines() == ["[]", "3.0 (1, 1)"]


def test_what_is_loaded_already_stays() -> None:
    code = """
import sys, pandas
from search.process.tensorflow_import import import_tensorflow
import_tensorflow()
print(sys.modules["pandas"] is pandas)
"""

    assert run(code) == "True"
