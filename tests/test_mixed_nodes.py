"""A real search on a real cluster whose nodes have different kernels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from model.processor import this_processor
from tests.search.nodes import Driver
from tests.search.raylets import raylets
from tests.search.tiny import tiny_tree

pytestmark = [pytest.mark.cluster, pytest.mark.soak]

OTHER = "eigen" if this_processor().kernels == "onednn" else "onednn"
ENVIRONMENT = {"TF_ENABLE_ONEDNN_OPTS": "1" if OTHER == "onednn" else "0"}


def study(folder: Path, source: Path, address: str) -> dict[str, Any]:
    tree = tiny_tree(folder, source, pruner="none", num_trials=4)
    tree["data"]["image_size"] = 64
    tree["train"] |= {"epochs": 4, "steps_per_epoch": 10}
    tree["resources"] = {
        "ray_address": address,
        "cpus_per_trial": 1,
        "memory_per_trial": "auto",
        "min_free_disk_gb": 0,
    }
    return tree


def test_nodes_of_two_kinds_search_together_and_are_told_apart(
    tmp_path: Path, synthetic_folder: Path
) -> None:
    # What Ray believes that the nodes have decides nothing here.
    nodes = [{"num_cpus": 1, "memory": 8 * 10**9}, {"num_cpus": 1, "memory": 8 * 10**9}]
    with raylets(nodes[0], nodes[1] | {"env": ENVIRONMENT}) as addresses:
        driver = Driver(
            study(tmp_path, synthetic_folder, addresses["address"]), tmp_path, "search run"
        )
        try:
            assert driver.start().wait(300) == 0, driver.text
        finally:
            driver.end()

    epochs = [
        json.loads(line)
        for path in driver.study.glob("trials/*/metrics.jsonl")
        for line in path.read_text(encoding="utf-8").splitlines()
    ]
    assert set(driver.states().values()) == {"COMPLETE"}
    assert {epoch["worker"]["kernels"] for epoch in epochs} == {"onednn", "eigen"}
    assert all(0 < epoch["memory"]["before"] < epoch["memory"]["peak"] for epoch in epochs)
    assert driver.text.count("where the fastest node has") == 1
