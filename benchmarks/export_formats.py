"""A model in every format it is exported to, each by its own runtime, against Keras.

    python benchmarks/export_formats.py [--model best.keras --images FOLDER] [--out FILE]

Without a model, a FlexUNet is trained for a minute on the embedded demo tiles. The first table
compares all formats on images of the model's size: bytes, difference of the probabilities, pixels
of the same class, and images a second; times are taken in turns, so that the ratios are worth more
than the figures. The second asks the SavedModel for the images at their own size, and compares it
with the way that `evaluate` and `predict` go: resized by OpenCV, and back.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import tensorflow as tf
from train_step import machine, tell

from data_pipeline.config import DataConfig
from data_pipeline.datasets.reading import read_image
from data_pipeline.datasets.resize import resize_image, restore
from data_pipeline.datasets.synthetic import ensure_synthetic
from data_pipeline.stores.prepare import prepare
from model.config import ModelConfig, TrainConfig
from model.exporting import write_onnx, write_saved_model, write_tflite
from model.flexunet import build_flexunet
from model.inference import load_model
from model.resampling import to_model
from model.runtimes import FormatCheck, Runtime, compare, open_predictor
from model.training import Trainer

PICTURES = {".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp"}
BATCH = 16


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, help="a .keras file; its images are needed, too")
    parser.add_argument("--images", type=Path, help="a folder of pictures, searched through")
    parser.add_argument("--resize", choices=["stretch", "letterbox"], default="stretch")
    parser.add_argument("--count", type=int, default=32, help="images compared")
    parser.add_argument("--rounds", type=int, default=5, help="of batches of 16")
    parser.add_argument("--threads", type=int, help="of ONNX Runtime and the TFLite interpreter")
    parser.add_argument("--steps", type=int, default=150, help="of training, without a model")
    parser.add_argument("--out", type=Path, help="append the tables to this file")
    options = parser.parse_args()
    if (options.model is None) != (options.images is None):
        parser.error("expected both of --model and --images, or neither")
    return options


def train(path: Path, steps: int) -> Path:
    """Train a model on the demo tiles, and give the folder of their test images."""
    store = prepare(DataConfig())
    records = [store.read("train", i) for i in range(store.splits["train"].count)]
    images, masks = (np.stack(part) for part in zip(*records, strict=True))
    dataset = tf.data.Dataset.from_tensor_slices((images, masks))
    batches = iter(dataset.shuffle(len(images), seed=0).repeat().batch(4))
    config = ModelConfig(num_layers=5, base_filters=8, base_kernel=3)
    model = build_flexunet(config, store.image_shape, store.num_classes)
    trainer = Trainer(
        model,
        TrainConfig(epochs=1, learning_rate=3e-3),
        class_pixels=[int(count) for count in store.class_pixels("train")],
        steps_per_epoch=steps,
    )
    trainer.train_epoch(batches)
    model.save(path)
    return ensure_synthetic(0, 60) / "test" / "images"


def read_pictures(folder: Path, channels: int, count: int) -> list[np.ndarray]:
    """Read as many pictures, spread over all that the folder holds."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in PICTURES)
    if not paths:
        raise SystemExit(f"{folder}: expected pictures, found none")
    chosen = np.unique(np.linspace(0, len(paths) - 1, count).astype(int))
    return [read_image(paths[i], channels) for i in chosen]


def export(model: keras.Model, folder: Path, resize: str) -> dict[str, Path]:
    """Write every format."""
    files = {
        "SavedModel": folder / "savedmodel",
        "ONNX": folder / "model.onnx",
        "TFLite, float32": folder / "model.tflite",
        "TFLite, int8 weights": folder / "model_int8.tflite",
    }
    write_saved_model(model, files["SavedModel"], resize=resize)  # type: ignore[arg-type]
    write_onnx(model, files["ONNX"])
    write_tflite(model, files["TFLite, float32"], quantize=False)
    write_tflite(model, files["TFLite, int8 weights"], quantize=True)
    return files


@dataclass(frozen=True)
class Rate:
    """Images a second in batches of 16, by the wall clock and by the CPU time of all threads."""

    wall: float
    cpu: float


def rates(runtimes: list[Runtime], images: np.ndarray, rounds: int) -> list[Rate]:
    """Measure each by the median of rounds in turns."""
    batch = np.resize(images, (BATCH, *images.shape[1:]))
    seconds: list[list[tuple[float, float]]] = [[] for _ in runtimes]
    for _ in range(1 + rounds):
        for runtime, times in zip(runtimes, seconds, strict=True):
            started = time.perf_counter(), time.process_time()
            runtime.predict(batch)
            times.append((time.perf_counter() - started[0], time.process_time() - started[1]))
    medians = [np.median(np.array(times[1:]), axis=0) for times in seconds]
    return [Rate(*(BATCH / median)) for median in medians]


def format_rows(
    model_path: Path, checks: tuple[FormatCheck, ...], batched: list[Rate]
) -> Iterator[str]:
    """Write the table of formats, Keras first."""
    yield (
        "| format | MB | largest difference | mean difference | same class | ms an image | "
        f"times as fast | images/s, batch {BATCH} | times as fast |"
    )
    yield "|---|---:|---:|---:|---:|---:|---:|---:|---:|"
    first, keras_rate = checks[0], batched[-1]
    size = model_path.stat().st_size / 1e6
    yield (
        f"| Keras | {size:.2f} | | | | {first.keras_milliseconds:.1f} | 1 | "
        f"{keras_rate.wall:.1f} ({keras_rate.cpu:.1f}) | 1 |"
    )
    for check, rate in zip(checks, batched[:-1], strict=True):
        yield (
            f"| {check.name} | {check.size / 1e6:.2f} | {check.largest_difference:.1e} | "
            f"{check.mean_difference:.1e} | {check.same_class:.3%} | {check.milliseconds:.1f} | "
            f"{check.keras_milliseconds / check.milliseconds:.2f} | "
            f"{rate.wall:.1f} ({rate.cpu:.1f}) | "
            f"{rate.wall / keras_rate.wall:.2f} ({rate.cpu / keras_rate.cpu:.2f}) |"
        )


def any_size_row(folder: Path, runtime: Runtime, pictures: list[np.ndarray], resize: str) -> str:
    """Compare the SavedModel's own resizing with OpenCV's: one row."""
    loaded = tf.saved_model.load(folder)  # kept, as the signature alone does not hold the weights
    served = loaded.signatures["serving_default"]
    size = runtime.image_shape[:2]
    off, largest, same, ours, theirs = [], [], [], [], []
    for picture in pictures:
        started = time.perf_counter()
        resized = resize_image(picture, size, resize)  # type: ignore[arg-type]
        probabilities = runtime.predict(resized[None])[0]
        expected = restore(probabilities, picture.shape[:2], resize)  # type: ignore[arg-type]
        classes = expected.argmax(axis=-1)
        theirs.append(time.perf_counter() - started)
        started = time.perf_counter()
        answer = {k: v.numpy()[0] for k, v in served(images=tf.constant(picture[None])).items()}
        ours.append(time.perf_counter() - started)
        inside = to_model(tf.constant(picture[None]), size, resize).numpy()[0]  # type: ignore[arg-type]
        off.append(np.mean(inside != resized))
        largest.append(np.abs(answer["probabilities"] - expected).max())
        same.append(np.mean(answer["classes"] == classes))
    return (
        f"| {len(pictures)} | {np.mean(off):.4%} | {max(largest):.1e} | {np.mean(same):.4%} | "
        f"{1e3 * statistics.median(ours):.1f} | {1e3 * statistics.median(theirs):.1f} |"
    )


def report(options: argparse.Namespace, folder: Path) -> str:
    """Measure everything, and write it down."""
    model_path = options.model or folder / "model.keras"
    images_folder = options.images or train(model_path, options.steps)
    model = load_model(model_path)
    height, width, channels = model.input_shape[1:]
    pictures = read_pictures(images_folder, channels, options.count)
    images = np.stack([resize_image(p, (height, width), options.resize) for p in pictures])
    files = export(model, folder, options.resize)
    checks = compare(model_path, files, images, options.threads)
    runtimes = [open_predictor(path, options.threads) for path in files.values()]
    runtimes.append(open_predictor(model_path))
    batched = rates(runtimes, images, options.rounds)
    return "\n".join(
        [
            f"{datetime.now(UTC):%Y-%m-%d}, {machine()}; "
            f"{height} x {width} x {channels}, {model.count_params():,} parameters, "
            f"{len(images)} images, threads {options.threads or 'as the runtimes choose'}",
            "",
            "Times as fast as Keras, in turns. In brackets: by CPU time of all threads instead of "
            "the wall clock.",
            "",
            *format_rows(model_path, checks, batched),
            "",
            "SavedModel at the images' own size, against OpenCV and the model in Keras:",
            "",
            "| images | resized pixels off by 1 of 255 | largest difference | same class | "
            "ms an image | ms by OpenCV and Keras |",
            "|---:|---:|---:|---:|---:|---:|",
            any_size_row(files["SavedModel"], runtimes[-1], pictures, options.resize),
        ]
    )


def main() -> None:
    """Measure and write the tables."""
    options = parse()
    with tempfile.TemporaryDirectory() as folder:
        text = report(options, Path(folder))
    tell(text, options.out)


if __name__ == "__main__":
    main()
