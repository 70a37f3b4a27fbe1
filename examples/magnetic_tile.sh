#!/usr/bin/env bash
# From photographs to a model in production, on the magnetic tiles, every step one command:
# search, report, confirm, export, train, evaluate, predict.
#
#   examples/magnetic_tile.sh RAW OUT
#
# RAW is the folder as its authors publish it (MT_Blowhole/Imgs, ...), OUT a folder for all that is
# made. Stopped at any time, the same line goes on where it was: run, confirm and train continue,
# the others write their files anew.
#
# Two cores take about an hour and a half; these make it shorter, or another search of it:
#   DATA=data/tiles                   a data set of your own, with split folders; RAW is not read
#   CONFIG=configs/quickstart.yaml    another search
#   SEARCH="search.num_trials=4"      fields to override in it, separated by spaces
#   TRAIN="train.epochs=10"           fields to override in the training of the best config
#   TOP=1 SEEDS=2                     configs to confirm, and trainings of each
#   FORMATS=yaml,keras                what to export

set -euo pipefail

if [ $# -ne 2 ]; then
    echo "usage: examples/magnetic_tile.sh RAW OUT" >&2
    exit 2
fi
raw=$1
mkdir -p "$2"
out=$(cd "$2" && pwd)
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
data=${DATA:-$out/data}
study=$out/studies/tiles

# The command of this checkout, else the one that is installed.
flexunet() {
    if [ -x "$root/.venv/bin/flexunet-search" ]; then
        "$root/.venv/bin/flexunet-search" "$@"
    else
        flexunet-search "$@"
    fi
}

step() {
    printf '\n== %s\n' "$*"
}

search_set=()
for field in ${SEARCH:-}; do
    search_set+=(--set "$field")
done
train_set=()
for field in ${TRAIN:-}; do
    train_set+=(--set "$field")
done

if [ ! -e "$data/dataset.yaml" ]; then
    step "convert the photographs, no tile in two splits"
    flexunet data magnetic-tile "$raw" "$data"
fi

step "search"
flexunet run "${CONFIG:-$root/configs/magnetic_tile_cpu.yaml}" \
    --set study.name=tiles --set "study.storage_path=$out/studies" \
    --set "data.source=$data" ${search_set[@]+"${search_set[@]}"}

step "review: $study/report.html"
flexunet report "$study"

# The best score of a search was chosen by the split that it was measured on. Again, over seeds, on
# the test split, beside the best baseline:
step "confirm"
flexunet confirm "$study" --top "${TOP:-1}" --seeds "${SEEDS:-2}"

step "export the best config, its model in every format, and a model card"
flexunet export "$study" "$out/best" \
    --format "${FORMATS:-all}"

step "train that config in full"
flexunet train "$out/best/best.yaml" "$out/model" ${train_set[@]+"${train_set[@]}"}

step "evaluate the model: Dice per class at the images' own size"
flexunet evaluate "$out/model/best.keras" "$data" --split test --out "$out/evaluation"

step "predict: masks at the images' own size, and overlays"
flexunet predict "$out/model/best.keras" "$data/test/images" "$out/predictions"

printf '\n'
printf '%s\n' "report:      $study/report.html" "export:      $out/best" \
    "model:       $out/model/best.keras" "evaluation:  $out/evaluation" \
    "predictions: $out/predictions"
