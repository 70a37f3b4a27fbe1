"""Opens a model in any format that it is exported to, each by the runtime it is served by.

All are asked in one way: uint8 images in, float32 probabilities out.
"""

from __future__ import annotations

import importlib
import re
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from model.inference import ModelError, Predictor, load_model
from model.kernels import single_is_slow

# The signature of our SavedModels that takes images of the model's own size; see exporting.py.
NETWORK = "network"
WARM_UP = 2
ROUNDS = 10

_FILES = "expected a .keras, .onnx or .tflite file or the folder of a SavedModel"
# Operations of a SavedModel that reach beyond its own numbers, by what their names hold. TensorFlow
# would run them.
_OUTSIDE = re.compile("File|PyFunc|Reader|Dataset|Print|Summary|Debug|^Save$|^SaveSlices$")
_INSIDE = frozenset({"ShardedFilename"})  # every SavedModel has it, to restore its own weights


class Runtime(Protocol):
    """A model that is asked batch by batch, whatever file it came from.

    Attributes:
        image_shape: (height, width, channels) that it takes, in pixels.
        num_classes: Classes, the background included; 2 for one sigmoid channel.
    """

    image_shape: tuple[int, int, int]
    num_classes: int

    def predict(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Predict one batch of any number of images.

        Args:
            images: uint8 [B, H, W, C].

        Returns:
            float32 [B, H, W, classes]; of a sigmoid [1 - p, p].

        Raises:
            ModelError: for an answer that is no number, as of damaged weights.
            ValueError: for images of another type or shape.
        """


def open_predictor(path: Path, threads: int | None = None) -> Runtime:
    """Open a model by what its name ends with; a folder is a SavedModel.

    Args:
        path: A ``.keras`` file (loaded in safe mode), the folder of a SavedModel that this project
            wrote, or an ``.onnx`` or ``.tflite`` file.
        threads: CPU threads of ONNX Runtime and of the TFLite interpreter; None: the runtime's own
            choice. TensorFlow's threads belong to the whole process and stay as they are.

    Raises:
        ModelError: where there is no such model, it is damaged or of another kind, or its runtime
            is not installed.
    """
    path = Path(path)
    return _opened(path, threads)


def _opened(path: Path, threads: int | None) -> _Base:
    if path.is_dir():
        return _SavedModel(path)
    match path.suffix.lower():
        case ".keras":
            return _Keras(path)
        case ".onnx":
            return _Onnx(_existing(path), threads)
        case ".tflite":
            return _TFLite(_existing(path), threads)
        case ".h5" | ".hdf5":
            raise ModelError(f"{path}: {_FILES}, received weights alone, without an architecture")
    raise ModelError(f"{path}: {_FILES}, received {_kind(path)}")


def optional_package(name: str) -> Any:
    """Import a package of the extra ``export``.

    Raises:
        ModelError: where it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ModelError(
            f"expected the package {name.split('.')[0]}, which is not installed "
            f"({error}): pip install 'flexunet-search[export]'"
        ) from error


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise ModelError(f"{path}: expected a model, found no file")
    return path


def _kind(path: Path) -> str:
    if not path.exists():
        return "nothing: there is no such file"
    return f"a file with the suffix {path.suffix!r}" if path.suffix else "a file without a suffix"


def _unreadable(path: Path, program: str, error: Exception) -> ModelError:
    first = next(iter(str(error).strip().splitlines()), "")
    return ModelError(
        f"{path}: expected a model that {program} can load, {type(error).__name__}: {first}"
    )


class _Base:
    """What all runtimes share: shapes are checked before the runtime sees a batch."""

    image_shape: tuple[int, int, int]
    num_classes: int

    def __init__(self, path: Path, taken: Any, given: Any) -> None:
        """Take over the shapes of input and output, [batch, height, width, channels] each."""
        problems = []
        if len(taken) != 4 or not all(_is_size(side) for side in taken[1:]):
            problems.append(f"expected images of one size [B, H, W, C], received {list(taken)}")
        if len(given) != 4 or not _is_size(given[-1]):
            problems.append(f"expected an output [B, H, W, classes], received {list(given)}")
        if problems:
            raise ModelError(f"{path}: {'; '.join(problems)}")
        self._path = path
        height, width, channels = (int(side) for side in taken[1:])
        self.image_shape = (height, width, channels)
        self.num_classes = max(2, int(given[-1]))

    def predict(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        probabilities = self.answer(images)
        # The largest of NaNs would be the background, everywhere.
        if not np.isfinite(probabilities).all():
            raise ModelError(
                f"{self._path}: expected probabilities, received NaN: its weights are damaged, or "
                "its training did not converge"
            )
        return probabilities

    def answer(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Predict, and give back NaN too."""
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != self.image_shape:
            raise ValueError(
                f"expected images uint8 [B, {', '.join(map(str, self.image_shape))}], "
                f"received {images.dtype} {list(images.shape)}"
            )
        probabilities = np.asarray(self._ask(images), np.float32)
        if probabilities.shape[-1] == 1:
            probabilities = np.concatenate([1 - probabilities, probabilities], axis=-1)
        return probabilities

    def _ask(self, images: NDArray[np.uint8]) -> Any:
        raise NotImplementedError


def _is_size(side: object) -> bool:
    """Tell a length from what stands for any length: None, -1 or a name."""
    return isinstance(side, int | np.integer) and bool(side > 0)


class _Keras(_Base):
    def __init__(self, path: Path) -> None:
        model = load_model(path)
        super().__init__(path, model.input_shape, model.output_shape)
        self._predictor = Predictor(model)

    def _ask(self, images: NDArray[np.uint8]) -> Any:
        return self._predictor.predict(images)


class _SavedModel(_Base):
    def __init__(self, path: Path) -> None:
        _refuse_outside_operations(path)
        try:
            loaded = tf.saved_model.load(path)
        except Exception as error:  # whatever protobuf and TensorFlow raise of a damaged file
            raise _unreadable(path, "TensorFlow", error) from error
        if NETWORK not in loaded.signatures:
            raise ModelError(
                f"{path}: expected a SavedModel that flexunet-search wrote, with the signature "
                f"{NETWORK!r}, received the signatures {sorted(loaded.signatures)}"
            )
        self._loaded = loaded  # the signature holds no reference to the weights
        self._network = loaded.signatures[NETWORK]
        [(self._input, taken)] = self._network.structured_input_signature[1].items()
        given = self._network.structured_outputs["probabilities"]
        super().__init__(path, taken.shape.as_list(), given.shape.as_list())

    def _ask(self, images: NDArray[np.uint8]) -> Any:
        twice = len(images) == 1 and single_is_slow()
        asked = np.repeat(images, 2, 0) if twice else images
        answer = self._network(**{self._input: tf.constant(asked)})
        return answer["probabilities"].numpy()[: len(images)]


def _refuse_outside_operations(path: Path) -> None:
    """Refuse a graph that reads or writes files or calls Python: a model needs neither."""
    from tensorflow.core.protobuf import saved_model_pb2

    try:
        described = saved_model_pb2.SavedModel.FromString((path / "saved_model.pb").read_bytes())
    except FileNotFoundError as error:
        raise ModelError(f"{path}: {_FILES}, found a folder without saved_model.pb") from error
    except Exception as error:
        raise _unreadable(path, "TensorFlow", error) from error
    graphs = [meta.graph_def for meta in described.meta_graphs]
    nodes = [node for graph in graphs for node in graph.node]
    nodes += [
        n for graph in graphs for function in graph.library.function for n in function.node_def
    ]
    used = {node.op for node in nodes} - _INSIDE
    if found := sorted(name for name in used if _OUTSIDE.search(name)):
        raise ModelError(
            f"{path}: expected a model that computes from its images alone, received one with "
            f"the operations {', '.join(found)}"
        )


class _Onnx(_Base):
    def __init__(self, path: Path, threads: int | None) -> None:
        onnxruntime = optional_package("onnxruntime")
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = threads or 0
        # Threads that wait by spinning take the cores from whatever runs after this model.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = onnxruntime.InferenceSession(
                path, options, providers=onnxruntime.get_available_providers()
            )
        except Exception as error:  # ONNX Runtime has a class of its own for each kind of fault
            raise _unreadable(path, "ONNX Runtime", error) from error
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        _expect_one(path, len(inputs), len(outputs))
        self._input = inputs[0].name
        self._dtype = _input_type(path, inputs[0].type.removeprefix("tensor(").removesuffix(")"))
        super().__init__(path, inputs[0].shape, outputs[0].shape)

    def _ask(self, images: NDArray[np.uint8]) -> Any:
        return self._session.run(None, {self._input: images.astype(self._dtype, copy=False)})[0]


class _TFLite(_Base):
    def __init__(self, path: Path, threads: int | None) -> None:
        module = optional_package("ai_edge_litert.interpreter")
        try:
            self._interpreter = module.Interpreter(model_path=str(path), num_threads=threads)
            self._interpreter.allocate_tensors()
        except Exception as error:  # ValueError or RuntimeError, whichever part notices it
            raise _unreadable(path, "the TFLite interpreter", error) from error
        inputs = self._interpreter.get_input_details()
        outputs = self._interpreter.get_output_details()
        _expect_one(path, len(inputs), len(outputs))
        self._input, self._output = inputs[0]["index"], outputs[0]["index"]
        self._dtype = _input_type(path, np.dtype(inputs[0]["dtype"]).name)
        self._batch = int(inputs[0]["shape"][0])
        super().__init__(path, list(inputs[0]["shape"]), list(outputs[0]["shape"]))

    def _ask(self, images: NDArray[np.uint8]) -> Any:
        if len(images) != self._batch:
            self._interpreter.resize_tensor_input(self._input, images.shape, strict=False)
            self._interpreter.allocate_tensors()
            self._batch = len(images)
        self._interpreter.set_tensor(self._input, images.astype(self._dtype, copy=False))
        self._interpreter.invoke()
        return self._interpreter.get_tensor(self._output)


def _expect_one(path: Path, inputs: int, outputs: int) -> None:
    if (inputs, outputs) != (1, 1):
        raise ModelError(
            f"{path}: expected a model of one input and one output, received {inputs} and {outputs}"
        )


def _input_type(path: Path, name: str) -> type[np.uint8] | type[np.float32]:
    """Type of the images, 0-255: ours take uint8, others of their kind float32."""
    if name == "uint8":
        return np.uint8
    if name in ("float", "float32"):
        return np.float32
    raise ModelError(f"{path}: expected a model of uint8 or float32 images, received {name}")


@dataclass(frozen=True)
class FormatCheck:
    """What became of a model in another format, asked for the same images as the model in Keras.

    Attributes:
        name: Of the format, as the caller calls it.
        path: The file, or the folder of a SavedModel.
        size: Bytes, all files of a folder together.
        largest_difference: Of any probability, from that of Keras; NaN where one is NaN.
        mean_difference: Mean of the absolute differences of all probabilities.
        same_class: Share of the pixels, 0-1, that get the class they get in Keras.
        milliseconds: An image in a batch of 1, by the wall clock, the median of some rounds.
        keras_milliseconds: The same of Keras, measured in turns with it.
        images: Number of images compared.
    """

    name: str
    path: Path
    size: int
    largest_difference: float
    mean_difference: float
    same_class: float
    milliseconds: float
    keras_milliseconds: float
    images: int


def compare(
    model_path: Path,
    files: Mapping[str, Path],
    images: NDArray[np.uint8],
    threads: int | None = None,
) -> tuple[FormatCheck, ...]:
    """Load each file by its own runtime, and compare its answers with those of Keras.

    Args:
        model_path: The ``.keras`` file that they were made of.
        files: The other formats by name.
        images: uint8 [N, H, W, C], at least one, of the model's size.
        threads: As for ``open_predictor``.

    Returns:
        One check a file, in the order given.

    Raises:
        ModelError: where a file cannot be opened, or is of other images or classes.
        ValueError: for no image, or images of another shape.
    """
    if not len(images):
        raise ValueError("expected at least one image to compare by, received none")
    reference = _opened(model_path, None)
    runtimes = {name: _opened(path, threads) for name, path in files.items()}
    for name, runtime in runtimes.items():
        _expect_alike(files[name], reference, runtime)
    differences = {
        name: _differences(reference, runtime, images) for name, runtime in runtimes.items()
    }
    *times, keras_time = _milliseconds([*runtimes.values(), reference], images)
    return tuple(
        FormatCheck(
            name,
            files[name],
            size_of(files[name]),
            *differences[name],
            milliseconds=time_of,
            keras_milliseconds=keras_time,
            images=len(images),
        )
        for name, time_of in zip(runtimes, times, strict=True)
    )


def size_of(path: Path) -> int:
    """Return bytes of a file, or of all files in a folder."""
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files)


def _expect_alike(path: Path, expected: Runtime, received: Runtime) -> None:
    ours = (expected.image_shape, expected.num_classes)
    theirs = (received.image_shape, received.num_classes)
    if ours != theirs:
        raise ModelError(
            f"{path}: expected images {ours[0]} and {ours[1]} classes, as of the Keras model, "
            f"received {theirs[0]} and {theirs[1]}"
        )


def _differences(
    reference: _Base, runtime: _Base, images: NDArray[np.uint8]
) -> tuple[float, float, float]:
    """Largest and mean absolute difference, and the share of pixels of the same class."""
    largest, total, same = 0.0, 0.0, 0.0
    # One by one, so that many large images fit memory.
    for image in images:
        ours, theirs = reference.answer(image[None]), runtime.answer(image[None])
        difference = np.abs(ours - theirs)
        # Not Python's max, which passes over a NaN.
        largest = float(np.maximum(largest, difference.max()))
        total += float(difference.mean(dtype=np.float64))
        same += float(np.mean(ours.argmax(axis=-1) == theirs.argmax(axis=-1)))
    return largest, total / len(images), same / len(images)


def _milliseconds(runtimes: Sequence[_Base], images: NDArray[np.uint8]) -> list[float]:
    """Median time of each for one image. Taking turns, all meet the same machine."""
    seconds: list[list[float]] = [[] for _ in runtimes]
    for turn in range(WARM_UP + ROUNDS):
        image = images[turn % len(images)][None]
        for runtime, times in zip(runtimes, seconds, strict=True):
            started = time.perf_counter()
            runtime.answer(image)
            times.append(time.perf_counter() - started)
    return [1e3 * statistics.median(times[WARM_UP:]) for times in seconds]
