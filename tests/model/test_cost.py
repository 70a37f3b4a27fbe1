from __future__ import annotations

import subprocess
import sys
from collections import Counter
from typing import Any, get_args

import pytest
import tensorflow as tf

from benchmarks.memory import measure, predicted
from model.config import Activation, ModelConfig, Normalization, TrainConfig
from model.cost import Kernels, MemoryEstimate, estimate_cost, retained_bytes, training_memory
from model.flexunet import build_flexunet
from model.losses import make_loss

SHAPE = (16, 24, 3)
VARIANTS: list[dict[str, Any]] = [
    *({"normalization": name} for name in get_args(Normalization)),
    *({"activation": name} for name in get_args(Activation)),
    *({"activation": name, "normalization": "none"} for name in get_args(Activation)),
    {"dropout_rate": 0.0},
    {"separable": True, "base_kernel": 5},
    {"num_layers": 1},
    {"input_scaling": "standardize"},
]


def config_of(values: dict[str, Any]) -> ModelConfig:
    return ModelConfig(**{"num_layers": 3, "base_filters": 8, "dropout_rate": 0.1, **values})


@pytest.mark.parametrize("values", VARIANTS, ids=str)
@pytest.mark.parametrize("num_classes", [1, 6])
def test_parameters_are_those_keras_counts(values: dict[str, Any], num_classes: int) -> None:
    config = config_of(values)

    expected = build_flexunet(config, SHAPE, num_classes).count_params()

    assert estimate_cost(config, SHAPE, num_classes).parameters == expected


# TensorFlow's own account of floating-point operations, by kind of operation.
def profiled_flops(config: ModelConfig, num_classes: int) -> Counter[str]:
    from tensorflow.python.framework import convert_to_constants, ops

    model = build_flexunet(config, SHAPE, num_classes)
    forward = tf.function(lambda image: model(image, training=False), autograph=False)
    concrete = forward.get_concrete_function(tf.TensorSpec((1, *SHAPE)))
    _, frozen = convert_to_constants.convert_variables_to_constants_v2_as_graph(concrete)
    counts: Counter[str] = Counter()
    with tf.Graph().as_default() as graph:
        tf.graph_util.import_graph_def(frozen, name="")
        for operation in graph.get_operations():
            flops = ops.get_stats_for_node_def(graph, operation.node_def, "flops").value
            counts[operation.type] += int(flops or 0)
    return counts


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"base_kernel": 7, "num_layers": 2},
        {"separable": True, "base_kernel": 5},
        {"normalization": "none", "activation": "silu"},
    ],
    ids=str,
)
def test_flops_are_those_tensorflow_profiles(values: dict[str, Any]) -> None:
    counts = profiled_flops(config_of(values), 6)
    kinds = ("Conv2D", "Conv2DBackpropInput", "DepthwiseConv2dNative", "BiasAdd")

    flops = estimate_cost(config_of(values), SHAPE, 6).flops

    assert flops == sum(counts[kind] for kind in kinds)
    # What the estimate leaves out is as little as its documentation says.
    assert flops == pytest.approx(sum(counts.values()), rel=0.05)


def test_flops_and_parameters_of_the_published_recipe() -> None:
    config = ModelConfig(num_layers=8, base_filters=16, base_kernel=11, normalization="none")

    cost = estimate_cost(config, (512, 512, 3), 6)

    assert cost.parameters == pytest.approx(126.8e6, rel=1e-3)
    assert cost.training_flops == pytest.approx(545e9, rel=1e-3)
    assert cost.state_bytes == 16 * cost.parameters


_SAME_MEMORY = {"Reshape", "Identity", "Squeeze", "StopGradient", "ExpandDims"}
_NO_ACTIVATION = {"ReadVariableOp", "Const", "Placeholder"}


def kept_bytes(config: ModelConfig, num_classes: int) -> int:
    """Bytes of the tensors that the gradient operations read from the forward pass."""
    model = build_flexunet(config, SHAPE, num_classes)
    loss = make_loss(TrainConfig(loss="cross_entropy"), [1.0] * num_classes)

    def gradients(image: tf.Tensor, mask: tf.Tensor) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            value = loss(mask, model(image, training=True))
        return tape.gradient(value, [weight.value for weight in model.trainable_variables])

    signature = (tf.TensorSpec((1, *SHAPE)), tf.TensorSpec((1, *SHAPE[:2]), tf.uint8))
    graph = tf.function(gradients, autograph=False).get_concrete_function(*signature).graph

    def backward(operation: tf.Operation) -> bool:
        # AddN sums the gradients that meet in one tensor.
        return "gradient_tape" in operation.name or operation.type == "AddN"

    kept = {}
    for operation in filter(backward, graph.get_operations()):
        for tensor in operation.inputs:
            while tensor.op.type in _SAME_MEMORY and tensor.op.inputs:
                tensor = tensor.op.inputs[0]
            size = tensor.shape.num_elements()
            if size and not backward(tensor.op) and tensor.op.type not in _NO_ACTIVATION:
                kept[tensor.name] = size * tensor.dtype.size
    return sum(kept.values())


@pytest.mark.parametrize("values", VARIANTS, ids=str)
def test_activations_are_those_the_gradients_read(values: dict[str, Any]) -> None:
    config = config_of(values)

    retained = retained_bytes(config, SHAPE, 6)

    assert retained == pytest.approx(kept_bytes(config, 6), rel=0.02)
    peak = estimate_cost(config, SHAPE, 6).activation_bytes
    assert retained < peak < 1.6 * retained


def test_activations_grow_with_the_area_and_not_with_the_kernel() -> None:
    def activations(side: int, kernel: int) -> int:
        config = config_of({"base_kernel": kernel})
        return estimate_cost(config, (side, side, 1), 6).activation_bytes

    assert activations(64, 3) == 4 * activations(32, 3)
    assert activations(32, 9) == activations(32, 3)


def test_images_of_the_wrong_size_are_refused() -> None:
    with pytest.raises(ValueError, match="received 18x24"):
        estimate_cost(config_of({}), (18, 24, 3), 6)


def test_an_estimate_does_not_load_tensorflow() -> None:
    code = "import sys, model.cost; print(sorted({'tensorflow', 'keras'} & set(sys.modules)))"

    result = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)

    assert result.stdout.strip() == b"[]"


def memory(
    kernels: Kernels, batch_size: int = 4, precision: str = "float32", **values: Any
) -> MemoryEstimate:
    config = config_of(values)
    return training_memory(config, (64, 64, 1), 6, batch_size, precision, kernels=kernels)


each_kind = pytest.mark.parametrize("kernels", get_args(Kernels))


@each_kind
def test_training_memory_is_the_sum_of_its_parts_with_a_reserve(kernels: Kernels) -> None:
    estimate = memory(kernels)
    cost = estimate_cost(config_of({}), (64, 64, 1), 6)

    assert estimate.state == cost.state_bytes
    assert estimate.activations == 4 * cost.activation_bytes
    assert estimate.device >= 1.1 * (estimate.state + estimate.activations + estimate.workspace)
    assert estimate.total == estimate.base + estimate.device
    # On a GPU the activations are not on the host.
    assert memory(kernels, batch_size=64).host == estimate.host


@each_kind
def test_memory_grows_with_what_takes_it(kernels: Kernels) -> None:
    totals = [
        memory(kernels, num_layers=2).total,
        memory(kernels, num_layers=4).total,
        memory(kernels, num_layers=4, base_filters=32).total,
        memory(kernels, num_layers=4, base_filters=32, batch_size=16).total,
        memory(kernels, num_layers=4, base_filters=32, batch_size=16, normalization="group").total,
    ]

    assert totals == sorted(set(totals))
    rougher = memory(kernels, 16, "float16", num_layers=4, base_filters=32).total
    assert rougher > memory(kernels, 16, num_layers=4, base_filters=32).total


def test_large_kernels_take_memory_of_tensorflows_own_convolutions_alone() -> None:
    # 64 px, 8 filters twice concatenated: 4096 pixels * 11 * 11 neighbours * 16 inputs in float32
    # are 31.7 MB for the gradient of the kernel and as much for that of the input.
    columns = 2 * 4096 * 121 * 16 * 4
    grown = {
        kernels: memory(kernels, 1, base_kernel=11).workspace
        - memory(kernels, 1, base_kernel=11, separable=True).workspace
        for kernels in get_args(Kernels)
    }

    assert grown["eigen"] > 2 * columns
    assert grown["onednn"] < columns / 10


@each_kind
def test_an_unknown_precision_is_refused(kernels: Kernels) -> None:
    with pytest.raises(ValueError, match="received 'int8'"):
        memory(kernels, precision="int8")


ACTIVATIONS = {"num_layers": 3, "base_filters": 8, "normalization": "group"}, 128, 16
WEIGHTS = {"num_layers": 5, "base_filters": 32, "normalization": "none"}, 16, 1
# What the gradients of a large kernel take.
COLUMNS = {"num_layers": 2, "base_filters": 8, "base_kernel": 11}, 128, 1


@pytest.mark.parametrize(
    ("mostly", "kind"),
    [
        (ACTIVATIONS, "onednn"),
        (ACTIVATIONS, "eigen"),
        (WEIGHTS, "onednn-avx2"),
        (WEIGHTS, "eigen"),
        (COLUMNS, "eigen"),
    ],
    ids=["activations", "activations, eigen", "weights", "weights, eigen", "columns, eigen"],
)
def test_the_prediction_covers_what_a_training_holds_without_waste(
    mostly: tuple[dict[str, Any], int, int], kind: str
) -> None:
    values, size, batch = mostly
    config = config_of(values)
    case = {
        "size": size,
        "channels": 1,
        "batch": batch,
        "precision": "float32",
        "threads": 1,
        "model": config.model_dump(),
    }
    stages = measure(case, kind)
    held = stages["saved"] - stages["base"]

    needed = predicted(stages).device

    assert held <= needed <= 2 * held
