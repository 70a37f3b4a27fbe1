"""Precisions that tests run in, as far as this process can."""

from __future__ import annotations

import os

import pytest

from model.processor import this_processor

# TensorFlow asks oneDNN for bfloat16 by what the processor has, which the limit does not change;
# oneDNN then has none to give, and the operation is aborted.
HAS_BFLOAT16 = "ONEDNN_MAX_CPU_ISA" not in os.environ or this_processor().kernels == "eigen"

needs_bfloat16 = pytest.mark.skipif(
    not HAS_BFLOAT16, reason="oneDNN has no bfloat16 where ONEDNN_MAX_CPU_ISA limits it"
)
PRECISIONS = ["float32", pytest.param("bfloat16", marks=needs_bfloat16), "float16"]
