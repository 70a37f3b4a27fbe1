"""A process made ready for TensorFlow: its threads, its share of a GPU."""

from __future__ import annotations

import gc
import os
from typing import Any

from foundation.errors import first_line, named_line
from search.process.memory import (
    CUDA_CONTEXT,
    OUT_OF_MEMORY,
    gpu_memory,
    is_out_of_memory,
    use_one_heap,
)
from search.process.resources import WorkerResources
from search.process.tensorflow_import import import_tensorflow

CUDA_CONTEXT_MIB = CUDA_CONTEXT // 2**20


def reason_of(error: BaseException) -> str:
    """Return one line that says why a trial failed."""
    if is_out_of_memory(error):
        return f"{OUT_OF_MEMORY}: {first_line(error)}"
    return named_line(error)


def set_up_process(resources: WorkerResources) -> None:
    """Choose TensorFlow's kernels; limit it to one heap, the trial's threads and GPU memory.

    Must run before the process uses TensorFlow: without it every trial starts a thread a core,
    and two trials on one machine fight.
    """
    use_one_heap()
    threads = resources.threads
    os.environ["OMP_NUM_THREADS"] = str(threads)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    tf = import_tensorflow()

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    # One more for the step that waits while the input pipeline works.
    tf.config.threading.set_inter_op_parallelism_threads(threads + 1)
    for gpu in tf.config.list_physical_devices("GPU"):
        limit_gpu_memory(tf, gpu, resources.gpus)


def keep_imports() -> None:
    """Leave out of later garbage collections what the imports so far have made.

    It stays to the process' end anyway; a collection after a trial then takes some 30 ms instead of
    half a second.
    """
    gc.collect()
    gc.freeze()


def limit_gpu_memory(tf: Any, gpu: Any, share: float) -> None:
    """Cap a GPU's memory at the trial's share; grow on demand where its size is not known."""
    total = _gpu_memory_mib() if 0 < share < 1 else None
    if total is None:
        tf.config.experimental.set_memory_growth(gpu, True)
        return
    # TensorFlow's limit does not cover the CUDA context that each process holds beside it.
    memory = max(int(total * share) - CUDA_CONTEXT_MIB, CUDA_CONTEXT_MIB)
    limit = tf.config.LogicalDeviceConfiguration(memory_limit=memory)
    tf.config.set_logical_device_configuration(gpu, [limit])


def _gpu_memory_mib() -> int | None:
    """Return the memory of the first visible GPU in MiB, as nvidia-smi tells it."""
    memory = gpu_memory(os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0])
    return None if memory is None else memory // 2**20
