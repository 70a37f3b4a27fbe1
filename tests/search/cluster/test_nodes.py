"""Nodes that say what they are, on a real Ray."""

from __future__ import annotations

import pytest
import ray

from model.processor import this_processor
from search.cluster.nodes import Nodes, ask_nodes
from search.config.settings import ResourceSettings

pytestmark = pytest.mark.cluster


def test_a_node_is_asked_for_its_gpus_without_one_to_spare(ray_session: None) -> None:
    (node,) = [node for node in ray.nodes() if node["Alive"]]
    (known,) = Nodes(ResourceSettings(gpus_per_trial="auto"), ask_processors=True)()

    assert known.resources["CPU"] == 2
    assert known.processor == this_processor()
    if not known.resources.get("GPU"):
        assert ask_nodes({node["NodeID"]: True}) == {node["NodeID"]: (this_processor(), None)}
        assert known.gpu_memory is None


def test_a_node_that_does_not_answer_is_not_known(ray_session: None) -> None:
    gone = "0" * 56

    assert ask_nodes({gone: False}, timeout=0.1) == {gone: (None, None)}
    assert ask_nodes({}) == {}
