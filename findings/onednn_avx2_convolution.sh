#!/usr/bin/env bash
# oneDNN in TensorFlow 2.21.0, limited to AVX2: the forward convolution of one image of 64 channels
# to 32 with a kernel of 9 falls back to a reference loop ("ref:any") and takes some six hundred
# times as long as that of 48 channels to 32, where arithmetic says 1.3. Two images take a hundredth
# of the time of one: a batch of one is given to another kernel than larger ones. Its gradients, 64
# to 16 and 64 to 64 channels, and AVX-512 are as fast as they should be.
#
# Output seen on 2026-11-29 on an AMD EPYC of Zen 4, one thread, 32 px, milliseconds of processor:
#
#   AVX2     48 -> 32:    5.5   64 -> 32: 2920.7   64 -> 64:   20.6
#   AVX-512  48 -> 32:    2.6   64 -> 32:    3.8   64 -> 64:    6.2
#
# Fails where 64 -> 32 is less than fifty times 48 -> 32 on AVX2, or two images are slow too.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet tensorflow==2.21.0 keras==3.15.1

cat > "$folder/convolve.py" <<'PYTHON'
import os
import time

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import tensorflow as tf

tf.config.threading.set_intra_op_parallelism_threads(1)


def milliseconds(inputs, outputs, images=1):
    image = tf.random.normal((images, 32, 32, inputs))
    kernel = tf.random.normal((9, 9, inputs, outputs))
    convolve = tf.function(lambda: tf.nn.conv2d(image, kernel, 1, "SAME"))
    convolve()
    began = time.process_time()
    for _ in range(3):
        convolve().numpy()
    return (time.process_time() - began) / 3 * 1000


print(*(f"{milliseconds(*c):.1f}" for c in ((48, 32), (64, 32), (64, 32, 2), (64, 64))))
PYTHON

convolve() { env TF_ENABLE_ONEDNN_OPTS=1 "$@" "$folder/venv/bin/python" "$folder/convolve.py" 2>/dev/null; }
show() {
    printf '%-8s 48 -> 32: %6s   64 -> 32: %6s, of two images %6s   64 -> 64: %6s\n' "$1" $2
}

narrow=$(convolve ONEDNN_MAX_CPU_ISA=AVX2)
show AVX2 "$narrow"
if grep -m1 '^flags' /proc/cpuinfo | grep -qw avx512_vnni; then
    show AVX-512 "$(convolve ONEDNN_MAX_CPU_ISA=DEFAULT)"
fi
read -r usual slow pair _ <<< "$narrow"
python3 -c "import sys; sys.exit($slow < 50 * $usual and 'changed: 64 -> 32 is no longer slow')"
python3 -c "import sys; sys.exit($pair > 10 * $usual and 'changed: two images are slow too')"
echo "as found"
