#!/usr/bin/env bash
# `import keras` (3.15.1), and so `import tensorflow` (2.21.0), imports scikit-learn with scipy.stats,
# and pandas, wherever they are installed: for keras.wrappers, which wraps models as estimators, and
# for the tables that fit() takes. Nobody need have asked for either. It costs each process a
# quarter of the import's time and a hundred MB. Without them installed, Keras imports without a word.
#
# Seconds of processor and MB of resident memory of `import tensorflow`, with the packages installed
# and with them hidden (None in sys.modules), the least of three. Output seen on 2026-11-30 on an AMD
# EPYC of Zen 4:
#
#   installed  s: 3.22  MB: 707  loaded: sklearn,scipy,pandas
#   hidden     s: 2.49  MB: 600  loaded: -
#
# Fails where the packages are no longer imported, or hiding them saves less than a tenth of the time.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet tensorflow==2.21.0 keras==3.15.1 scikit-learn==1.9.1 pandas==3.1.1

cat > "$folder/measure.py" <<'PYTHON'
import os
import sys
import time

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
packages = ("sklearn", "scipy", "pandas")
if sys.argv[1] == "hidden":
    sys.modules.update(dict.fromkeys(packages))


def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


before, began = resident(), time.process_time()
import tensorflow

loaded = [name for name in packages if sys.modules.get(name)]
print(f"{time.process_time() - began:.2f} {resident() - before:.0f} {','.join(loaded) or '-'}")
PYTHON

least() {
    for _ in 1 2 3; do "$folder/venv/bin/python" "$folder/measure.py" "$1" 2>/dev/null; done | sort -n | head -1
}
least installed >/dev/null # the first import compiles
read -r seconds megabytes loaded <<< "$(least installed)"
read -r without less none <<< "$(least hidden)"
printf '%-10s s: %s  MB: %s  loaded: %s\n' installed "$seconds" "$megabytes" "$loaded"
printf '%-10s s: %s  MB: %s  loaded: %s\n' hidden "$without" "$less" "$none"
python3 -c "import sys; sys.exit('$loaded' != 'sklearn,scipy,pandas' and 'changed: loaded are $loaded')"
python3 -c "import sys; sys.exit($without > 0.9 * $seconds and 'changed: it saves no tenth')"
echo "as found"
