"""Prediction: images a second by runtime and batch, whole and tiled; what a large image takes.

    python benchmarks/predict.py [--model FILE] [--images 64] [--large 20000] [--out FILE]

Everything that `predict` does is measured: decoding, the model, restoring the size, writing masks;
without overlays. Keras, ONNX Runtime and TFLite take turns on the same files, so the ratios are
worth more than the figures. The peak memory is that of a process of its own, which predicts one
large grey image in tiles with a small model; beside it the same process with a small image.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import cv2
import keras
import numpy as np

from model.config import ModelConfig
from model.exporting import write_onnx, write_tflite
from model.flexunet import build_flexunet
from model.runtimes import Runtime, open_predictor
from search.inference.model_metadata import ModelMetadata, facts_of
from search.inference.prediction import PredictOptions, predict
from search.inference.prediction_folder import Folder
from search.inference.prediction_inputs import InputImage, find_images

BATCHES = (1, 16)


def main() -> None:
    """Measure and print the tables."""
    arguments = parse()
    if arguments.only:
        print(peak_of(arguments.only[0], arguments.only[1]))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        lines = [*header(), "", *speeds(folder, arguments)]
        if arguments.large:
            lines += ["", *memory(folder, arguments.large)]
    text = "\n".join(lines) + "\n"
    print(text, end="")
    if arguments.out:
        arguments.out.write_text(text, encoding="utf-8")


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, help="a .keras file; default: a fresh FlexUNet")
    parser.add_argument("--images", type=int, default=64, help="images of about 300 px a side")
    parser.add_argument("--side", type=int, default=1536, help="side of the image in tiles")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--large", type=int, default=20000, help="side in pixels; 0: leave it out")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--only", nargs=2, type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def header() -> list[str]:
    """Say where and when."""
    return [
        f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores, {platform.machine()}, "
        f"Keras {keras.__version__}"
    ]


def speeds(folder: Path, arguments: argparse.Namespace) -> list[str]:
    """Measure every runtime and batch in turns."""
    model_path = arguments.model or write_model(folder / "model.keras", 128, 5, 16)
    facts = facts_of(model_path)
    runtimes = open_all(folder, model_path, arguments.threads)
    write_images(folder / "small", arguments.images, 300, facts.image_shape[2])
    write_images(folder / "large", 1, arguments.side, facts.image_shape[2])
    works = {
        "whole": ("small", "never", arguments.images, "images/s"),
        "tiled": ("large", "always", arguments.side**2 / 1e6, "megapixels/s"),
    }
    lines = ["| how | batch | runtime | a second | to Keras |", "|---|---:|---|---:|---:|"]
    for how, (images, tiles, amount, unit) in works.items():
        for batch in BATCHES:
            options = PredictOptions(
                tiles=tiles, overlays=False, batch_size=batch, threads=arguments.threads
            )
            inputs = find_images(str(folder / images)).inputs
            times: dict[str, list[float]] = {name: [] for name in runtimes}
            for round_number in range(arguments.rounds + 1):
                for name, runtime in runtimes.items():
                    seconds = timed(runtime, facts, folder / "out", inputs, options)
                    if round_number:  # the first one traces
                        times[name].append(seconds)
            for name, values in times.items():
                ratio = statistics.median(
                    a / b for a, b in zip(times["Keras"], values, strict=True)
                )
                pace = amount / statistics.median(values)
                lines.append(f"| {how} | {batch} | {name} | {pace:,.1f} {unit} | {ratio:.2f}x |")
    return lines


def timed(
    runtime: Runtime,
    facts: ModelMetadata,
    out: Path,
    inputs: Sequence[InputImage],
    options: PredictOptions,
) -> float:
    """Return the seconds of predicting all inputs once."""
    writes = Folder(out, facts.classes, facts.colors)
    writes.begin({})
    started = time.perf_counter()
    failed = [o for o in predict(runtime.predict, facts, writes, inputs, options) if o.error]
    if failed:
        raise SystemExit(f"{failed[0].image}: {failed[0].error}")
    return time.perf_counter() - started


def open_all(folder: Path, model_path: Path, threads: int) -> dict[str, Runtime]:
    """Open the model by every runtime."""
    model = keras.models.load_model(model_path, compile=False)
    write_onnx(model, folder / "model.onnx")
    write_tflite(model, folder / "model.tflite", quantize=False)
    write_tflite(model, folder / "model_int8.tflite", quantize=True)
    return {
        "Keras": open_predictor(model_path),
        "ONNX Runtime": open_predictor(folder / "model.onnx", threads),
        "TFLite": open_predictor(folder / "model.tflite", threads),
        "TFLite, int8 weights": open_predictor(folder / "model_int8.tflite", threads),
    }


def write_model(path: Path, side: int, levels: int, filters: int) -> Path:
    """Write a FlexUNet of fresh weights: grey images, six classes."""
    config = ModelConfig(num_layers=levels, base_filters=filters)
    build_flexunet(config, (side, side, 1), 6).save(path)
    return path


def write_images(folder: Path, count: int, side: int, channels: int) -> None:
    """Write random smooth pictures as PNG."""
    folder.mkdir()
    random = np.random.default_rng(0)
    for number in range(count):
        small = random.integers(0, 256, (side // 8, side // 8, channels), np.uint8)
        cv2.imwrite(str(folder / f"{number:04d}.png"), cv2.resize(small, (side, side)))


def memory(folder: Path, side: int) -> list[str]:
    """Measure the peak memory of a process that predicts a large image, and of a small one."""
    model = write_model(folder / "tiles.keras", 512, 2, 4)
    lines = ["| image | pixels, MB | peak memory, MB | above the small image, MB | s |"]
    lines.append("|---|---:|---:|---:|---:|")
    base = 0.0
    for length in (2048, side):
        path = folder / f"{length}.png"
        tile = np.random.default_rng(1).integers(0, 256, (64, 64), np.uint8)
        cv2.imwrite(str(path), cv2.resize(tile, (length, length)))
        command = [sys.executable, __file__, "--only", str(model), str(path)]
        shown = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        peak, seconds = (float(part) for part in shown.split()[-2:])
        base = base or peak
        lines.append(
            f"| {length:,} x {length:,} grey | {length**2 / 1e6:,.0f} | {peak:,.0f} | "
            f"{peak - base:,.0f} | {seconds:,.0f} |"
        )
        path.unlink()
    return lines


def peak_of(model: Path, image: Path) -> str:
    """Predict one image in tiles; return this process's peak memory in MB (10**6), and seconds."""
    runtime, facts = open_predictor(model), facts_of(model)
    options = PredictOptions(
        tiles="always", overlays=False, batch_size=4, threads=os.cpu_count() or 1
    )
    with tempfile.TemporaryDirectory(dir=image.parent) as out:
        inputs = find_images(str(image)).inputs
        seconds = timed(runtime, facts, Path(out) / "out", inputs, options)
    # Not getrusage: its figure begins with the memory of the process that started this one.
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    peak = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return f"{int(peak.split()[1]) * 1024 / 1e6:.0f} {seconds:.1f}"


if __name__ == "__main__":
    main()
