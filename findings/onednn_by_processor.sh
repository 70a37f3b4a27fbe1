#!/usr/bin/env bash
# TensorFlow 2.21.0 on Linux takes oneDNN's convolutions by itself only where the processor has
# AVX-512 VNNI, AVX-512 BF16, AVX-VNNI or AMX. ONEDNN_MAX_CPU_ISA=AVX2 on such a machine leaves oneDNN
# on, so it does not show what a machine with AVX2 alone does: that is TF_ENABLE_ONEDNN_OPTS=0.
#
# The difference is large. Four convolutions of 16 filters and kernel 9 at 128 px, batch 4, one
# thread; "oneDNN on", MB held above the process before, processor seconds a step. Output seen on
# 2026-11-29 on an AMD EPYC of Zen 4 (avx512_vnni):
#
#   as it comes                   on: True   MB:  77   s: 0.24
#   ONEDNN_MAX_CPU_ISA=AVX2       on: True   MB:  74   s: 0.27
#   TF_ENABLE_ONEDNN_OPTS=1       on: True   MB:  77   s: 0.24
#   TF_ENABLE_ONEDNN_OPTS=0       on: False  MB: 292   s: 1.08
#
# Fails where oneDNN is on or off against the processor's flags, where the limit switches it off, or
# where a step without it holds less than twice the memory.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet tensorflow==2.21.0 keras==3.15.1

cat > "$folder/step.py" <<'PYTHON'
import os
import time

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import keras
import numpy as np
import tensorflow as tf
from tensorflow.python.util import _pywrap_util_port


def peak_mb():
    line = next(x for x in open("/proc/self/status") if x.startswith("VmHWM"))
    return int(line.split()[1]) / 1000


tf.config.threading.set_intra_op_parallelism_threads(1)
image = x = keras.Input((128, 128, 8))
for _ in range(4):
    x = keras.layers.Conv2D(16, 9, padding="same", activation="relu")(x)
model = keras.Model(image, x)
model.compile("sgd", "mse")
batch = np.zeros((4, 128, 128, 8), "float32"), np.zeros((4, 128, 128, 16), "float32")
before = peak_mb()
model.train_on_batch(*batch)
began = time.process_time()
for _ in range(4):
    model.train_on_batch(*batch)
seconds = (time.process_time() - began) / 4
print(_pywrap_util_port.IsMklEnabled(), round(peak_mb() - before), round(seconds, 2))
PYTHON

step() { env "$@" "$folder/venv/bin/python" "$folder/step.py" 2>/dev/null; }
show() { printf '%-28s  on: %-5s  MB: %3s   s: %s\n' "$1" $2; }

usual=$(step -u TF_ENABLE_ONEDNN_OPTS)
limited=$(step -u TF_ENABLE_ONEDNN_OPTS ONEDNN_MAX_CPU_ISA=AVX2)
on=$(step TF_ENABLE_ONEDNN_OPTS=1)
off=$(step TF_ENABLE_ONEDNN_OPTS=0)
show "as it comes" "$usual"
show "ONEDNN_MAX_CPU_ISA=AVX2" "$limited"
show "TF_ENABLE_ONEDNN_OPTS=1" "$on"
show "TF_ENABLE_ONEDNN_OPTS=0" "$off"

expected=False
if grep -m1 '^flags' /proc/cpuinfo | grep -qwE 'avx512_vnni|avx512_bf16|avx_vnni|amx_tile|amx_int8|amx_bf16'
then expected=True; fi
read -r is_on _ _ <<< "$usual"
read -r is_on_limited _ _ <<< "$limited"
read -r _ mb_on _ <<< "$on"
read -r _ mb_off _ <<< "$off"
[ "$is_on" = "$expected" ] || { echo "changed: expected oneDNN on: $expected by the flags"; exit 1; }
[ "$is_on_limited" = "$expected" ] || { echo "changed: the limit decides whether oneDNN is on"; exit 1; }
[ "$mb_off" -ge $((2 * mb_on)) ] || { echo "changed: memory without oneDNN"; exit 1; }
echo "as found"
