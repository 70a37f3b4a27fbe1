"""What a FlexUNet costs, from its config alone: nothing is built and TensorFlow is not loaded."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from model.config import Level, ModelConfig
from model.processor import Kernels

_FLOAT = 4  # bytes of a float32
# Tensors of a convolution's output size that its activation keeps for the backward pass, its own
# output included, as Keras composes it.
_KEPT: Mapping[str, int] = MappingProxyType(
    {"relu": 1, "elu": 1, "leaky_relu": 2, "silu": 2, "mish": 3, "gelu": 4}
)


@dataclass(frozen=True)
class Cost:
    """What one image costs.

    Attributes:
        parameters: Weights, the moving averages of batch normalization included.
        flops: Of one forward pass of one image: 2 for each multiply-add of a convolution, 1 for
            each bias added. Normalization, activation, pooling and softmax are left out: a few
            percent for a kernel of 3, less for larger ones.
        activation_bytes: Peak memory of the activations of one image in a training step, in
            float32; about half in bfloat16 and float16. See ``estimate_cost``.
    """

    parameters: int
    flops: int
    activation_bytes: int

    @property
    def training_flops(self) -> int:
        """Of one training step for one image: the backward pass does the forward's work twice."""
        return 3 * self.flops

    @property
    def state_bytes(self) -> int:
        """Memory that no batch size changes: weights, gradients and Adam's two moments."""
        return 4 * _FLOAT * self.parameters


# Fitted to the peak resident memory of 40 random configs for each kind of kernels, of 64-256 px,
# batches of 1-16, 2-6 levels, kernels of 3-11 and up to 31 million parameters, with TensorFlow
# 2.21, float32 and bfloat16: see training_memory, and benchmarks/memory.py, which measures again.
# A worker process with TensorFlow and Optuna imported, before any model: pages of its own, and
# those of the libraries' files, which are in memory once for all processes of a node.
PROCESS_OWN = 340_000_000
_PROCESS = PROCESS_OWN + 530_000_000
_PROCESS_WITH_GPU = 2_000_000_000  # with CUDA's libraries: not measured, a cautious guess
_FLOAT16_SCRATCH = 0.7  # more in float16, which not all kernels for CPUs have
_SAFETY = 1.2


@dataclass(frozen=True)
class _Workspace:
    """What kernels of one kind take beside weights and activations.

    Attributes:
        graph, graph_per_level: Bytes.
        parameter_copies: Layouts of the weights that the kernels prefer, and a checkpoint's copies.
        scratch: Share of the activations; ``group_scratch`` where normalization is group or layer.
        half: Whether bfloat16 takes half the memory of float32; of float16 it was not measured.
        columns, mapped_columns: Times that the columns of :func:`_column_bytes` are held: as far as
            they lie in the heap, where they leave holes, and beyond, where they are mapped.
    """

    graph: int
    graph_per_level: int
    parameter_copies: float
    scratch: float
    group_scratch: float
    half: bool = False
    columns: float = 0.0
    mapped_columns: float = 0.0


_WORKSPACES: Mapping[Kernels, _Workspace] = MappingProxyType(
    {
        "onednn": _Workspace(16_000_000, 13_500_000, 4.3, 0.1, 0.3),
        "eigen": _Workspace(18_000_000, 15_200_000, 2.2, 0.5, 0.75, True, 2.25, 0.92),
    }
)
# What TensorFlow's own gradients of a convolution (Conv2DCustomBackprop...) aim at, in bytes.
_SHARD = 30 * 2**20
# glibc maps what is larger by itself: two buffers of at most so much lie in the heap.
_HEAP_BUFFERS = 2 * 32 * 2**20


@dataclass(frozen=True)
class MemoryEstimate:
    """Memory of a training process, in bytes; see :func:`training_memory`.

    Attributes:
        state: Weights, gradients and the optimizer's two moments.
        activations: What the backward pass reads, of a whole batch.
        workspace: Graph, scratch memory of the kernels, copies of the weights.
        base: Of the process before it builds a model.
    """

    state: int
    activations: int
    workspace: int
    base: int = _PROCESS

    @property
    def total(self) -> int:
        """Resident memory of the process on CPUs, with a reserve of a fifth above the base."""
        return self.base + self.device

    @property
    def device(self) -> int:
        """What the model needs, the process apart: on a GPU, the memory to give TensorFlow."""
        return round(_SAFETY * (self.state + self.activations + self.workspace))

    @property
    def host(self) -> int:
        """Host memory of a process that trains on a GPU: itself, and copies for a checkpoint."""
        return _PROCESS_WITH_GPU + 2 * self.state


@dataclass(frozen=True)
class _Convolution:
    """One convolution as the sums need it; height and width are of its output, in pixels."""

    kernel: int
    inputs: int
    outputs: int
    height: int
    width: int
    separable: bool = False

    @property
    def pixels(self) -> int:
        return self.height * self.width

    @property
    def weights(self) -> int:
        area = self.kernel**2
        if self.separable:
            return area * self.inputs + self.inputs * self.outputs + self.outputs
        return area * self.inputs * self.outputs + self.outputs

    @property
    def flops(self) -> int:
        return (2 * (self.weights - self.outputs) + self.outputs) * self.pixels


def estimate_cost(config: ModelConfig, image_shape: tuple[int, int, int], num_classes: int) -> Cost:
    """Compute parameters, FLOPs and peak activation memory of a model that is not built.

    The activations are the tensors that the backward pass reads, and at its start the gradients
    beside them. Per image, in floats, with n = filters * height * width of a level:

    - the scaled image: height * width * channels;
    - each of a block's two convolutions: a * n, a = 1 for relu and elu, 2 for leaky_relu and
      silu, 3 for mish, 4 for gelu; n more with normalization; a depthwise output when separable;
    - each block's dropout, where its rate is above 0: n / 4 for its mask of bytes, and n for its
      output, unless that takes the place of one that nothing else would keep (a normalization's,
      or that of an activation other than relu and elu, whose gradients read their own output);
    - each pooling: n / 4; each concatenation: 2 n;
    - head and loss: height * width * (2 * num_classes + 3), a sigmoid counting as 2 classes;
    - gradients: those of the input and output of the first block of the last decoder level, 3 n
      there (2 n with a single level).

    Scratch memory of the convolutions themselves is not in it: it depends on the device.

    Args:
        config: The architecture.
        image_shape: (height, width, channels), in pixels.
        num_classes: Classes, the background included; 1 for a single sigmoid channel.

    Raises:
        ValueError: for image sides that cannot be halved often enough.
    """
    height, width, _ = image_shape
    if problem := config.image_size_problem(height, width):
        raise ValueError(problem)
    convolutions = [
        *_block_convolutions(config, image_shape),
        *_up_convolutions(config, height, width),
        _Convolution(1, config.base_filters, num_classes, height, width),
    ]
    kept = retained_bytes(config, image_shape, num_classes)
    gradients = (3 if config.num_layers > 1 else 2) * config.base_filters * height * width
    return Cost(
        parameters=sum(c.weights for c in convolutions) + _normalization_weights(config),
        flops=sum(c.flops for c in convolutions),
        activation_bytes=kept + _FLOAT * gradients,
    )


def training_memory(
    config: ModelConfig,
    image_shape: tuple[int, int, int],
    num_classes: int,
    batch_size: int,
    precision: str = "float32",
    *,
    averaged: bool = False,
    whole_shape: tuple[int, int, int] | None = None,
    kernels: Kernels,
) -> MemoryEstimate:
    """Predict the peak memory of training a model that is not built.

    With P parameters, L levels and the activations a * batch_size of :func:`estimate_cost`:

    ============  ======================================  ======================================
    ..            oneDNN's kernels                        TensorFlow's own (Eigen)
    ============  ======================================  ======================================
    state         16 P, 20 P with averaged weights        16 P, 20 P with averaged weights
    activations   a * batch_size, in bfloat16 and         a * batch_size, half in bfloat16
                  float16 too: they took as much          without group or layer normalization
    workspace     16 MB + 13.5 MB * L + 4.3 * 4 P         18 MB + 15.2 MB * L + 2.2 * 4 P
                  + 0.1 * activations (0.3 with group     + 0.5 * activations (0.75 with group
                  or layer normalization)                 or layer normalization)
                                                          + the convolutions' columns
    ============  ======================================  ======================================

    Where a training sees windows of its images, whole images are validated: if the skips of one,
    four tensors of its first level and its probabilities are more than a * batch_size, they count
    as the activations.

    In float16 the workspace has 0.7 * activations more. The total is 870 MB for the process + 1.2 *
    (state + activations + workspace).

    Columns: for the gradients of a convolution with a kernel of side k > 1 and i inputs,
    TensorFlow's own kernels write out every pixel's k * k * i neighbours, of as many images as fit
    in 30 MiB but at least one. Both gradients do so at once, and the largest convolution decides.
    The first 64 MiB count 2.25 times, for the holes that they leave in the heap, the rest 0.92
    times.

    The formula is of this shape because memory is; its numbers are fitted, and what it gives for
    configs that they were not fitted to is in benchmarks/README.md. On a GPU nothing was
    measured: ``device`` is the same sum, and cuDNN may take more scratch memory. A process that has
    trained other models before holds up to some hundred MB more.

    Args:
        config: The architecture.
        image_shape: (height, width, channels), in pixels.
        num_classes: Classes, the background included; 1 for a single sigmoid channel.
        batch_size: Images of a training step; an evaluation of twice as many needs less.
        precision: float32, bfloat16 or float16.
        averaged: Whether an average of the weights is held beside them.
        whole_shape: Of the images, where ``image_shape`` is that of windows of them.
        kernels: Whose convolutions TensorFlow uses: ``model.processor.this_processor``
            tells.

    Raises:
        ValueError: for image sides that cannot be halved often enough, or an unknown precision.
    """
    if precision not in ("float32", "bfloat16", "float16"):
        raise ValueError(f"expected float32, bfloat16 or float16, received {precision!r}")
    cost = estimate_cost(config, image_shape, num_classes)
    taken = _WORKSPACES[kernels]
    size = _FLOAT // 2 if taken.half and precision == "bfloat16" else _FLOAT
    # Keras computes group and layer normalization in float32.
    grouped = config.normalization in ("group", "layer")
    activations = cost.activation_bytes * batch_size
    if whole_shape is not None:
        activations = max(activations, _forward_bytes(config, whole_shape, num_classes))
    activations = activations * (_FLOAT if grouped else size) // _FLOAT
    scratch = taken.group_scratch if grouped else taken.scratch
    scratch += _FLOAT16_SCRATCH * (precision == "float16")
    columns = _column_bytes(config, image_shape, batch_size, size)
    workspace = (
        taken.graph
        + taken.graph_per_level * config.num_layers
        + taken.parameter_copies * _FLOAT * cost.parameters
        + scratch * activations
        + taken.columns * min(columns, _HEAP_BUFFERS)
        + taken.mapped_columns * max(0, columns - _HEAP_BUFFERS)
    )
    state = cost.state_bytes + averaged * _FLOAT * cost.parameters
    return MemoryEstimate(state, activations, round(workspace))


def _forward_bytes(config: ModelConfig, image_shape: tuple[int, int, int], num_classes: int) -> int:
    """Return what a forward pass of one image holds at its end, when most is held."""
    height, width, channels = image_shape
    skips = sum(level.filters * _pixels(level, height, width) for level in config.levels()[:-1])
    last = (4 * config.base_filters + channels + 2 * num_classes) * height * width
    return _FLOAT * (skips + last)


def _column_bytes(
    config: ModelConfig, image_shape: tuple[int, int, int], batch_size: int, size: int
) -> int:
    """Return the columns that the largest convolution's two gradients hold in TensorFlow's kernels.

    Of the kernel's gradient for a shard of the batch, of the input's for an image; ``size``: bytes
    of a number. Depthwise and 1 x 1 convolutions need none.
    """
    largest = 0
    for c in _block_convolutions(config, image_shape):
        if c.separable:
            continue
        column = size * c.pixels * c.kernel**2 * c.inputs
        operands = size * c.outputs * (c.pixels + c.kernel**2 * c.inputs)
        shard = min(batch_size, math.ceil(_SHARD / (column + operands)))
        largest = max(largest, (shard + 1) * column)
    return largest


def retained_bytes(config: ModelConfig, image_shape: tuple[int, int, int], num_classes: int) -> int:
    """Memory of what the forward pass keeps for the backward pass; see ``estimate_cost``."""
    height, width, channels = image_shape
    normalized = config.normalization != "none"
    floats = height * width * (channels + 2 * max(2, num_classes) + 3)
    for c in _block_convolutions(config, image_shape):
        floats += (_KEPT[config.activation] + normalized) * c.outputs * c.pixels
        floats += c.separable * c.inputs * c.pixels
    dropped = 1 if normalized or _KEPT[config.activation] > 1 else 1 + _FLOAT
    dropout_bytes = 0
    for level in config.levels():
        n = level.filters * _pixels(level, height, width)
        decoded = level.index < config.num_layers - 1
        if decoded:
            floats += n // 4 + 2 * n
        if level.dropout > 0:
            dropout_bytes += dropped * n * (2 if decoded else 1)
    return _FLOAT * floats + dropout_bytes


def _pixels(level: Level, height: int, width: int) -> int:
    return (height >> level.index) * (width >> level.index)


def _block_convolutions(
    config: ModelConfig, image_shape: tuple[int, int, int]
) -> Iterator[_Convolution]:
    """Yield the convolutions of all blocks, encoder first."""
    height, width, inputs = image_shape
    levels = config.levels()
    for level in levels:
        # The very first one is never separable: see flexunet.py.
        yield from _block(config, level, inputs, height, width, first_plain=level.index == 0)
        inputs = level.filters
    for level in levels[:-1]:
        yield from _block(config, level, 2 * level.filters, height, width, first_plain=False)


def _block(
    config: ModelConfig, level: Level, inputs: int, height: int, width: int, *, first_plain: bool
) -> Iterator[_Convolution]:
    size = (height >> level.index, width >> level.index)
    separable = config.separable
    yield _Convolution(
        level.kernel, inputs, level.filters, *size, separable=separable and not first_plain
    )
    yield _Convolution(level.kernel, level.filters, level.filters, *size, separable=separable)


def _up_convolutions(config: ModelConfig, height: int, width: int) -> Iterator[_Convolution]:
    """Yield the transposed convolutions."""
    levels = config.levels()
    for below, level in zip(levels[1:], levels[:-1], strict=True):
        yield _Transposed(
            2, below.filters, level.filters, height >> level.index, width >> level.index
        )


class _Transposed(_Convolution):
    """2x2 with stride 2: each output pixel is reached by one element of the kernel."""

    @property
    def flops(self) -> int:
        return (2 * self.inputs * self.outputs + self.outputs) * self.pixels


def _normalization_weights(config: ModelConfig) -> int:
    each = {"none": 0, "batch": 4, "group": 2, "layer": 2}[config.normalization]
    *upper, bridge = config.levels()
    # Two a block; an encoder and a decoder block at each level but the bridge.
    return each * (4 * sum(level.filters for level in upper) + 2 * bridge.filters)
