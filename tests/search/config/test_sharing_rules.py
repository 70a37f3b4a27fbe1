from __future__ import annotations

from typing import Any

import pytest

from search.config.errors import ConfigError
from search.config.loading import config_from_tree
from search.config.schema import StudyConfig
from search.config.sharing_rules import sharing_problems


def config(sharing: str = "service", **augment: Any) -> StudyConfig:
    return config_from_tree({"augment": augment, "pipeline": {"sharing": sharing}})


def test_trials_that_augment_alike_share() -> None:
    assert list(sharing_problems(config(rotation=20))) == []


def test_a_few_policies_are_a_job_each() -> None:
    assert list(sharing_problems(config(preset={"choice": ["none", "light", "default"]}))) == []


@pytest.mark.parametrize(
    ("augment", "said"),
    [
        ({"rotation": {"float": [0.0, 20.0]}}, "augment.rotation (any value)"),
        (
            {"rotation": {"choice": [0, 5, 10]}, "scale": {"choice": [0.0, 0.1, 0.2]}},
            "augment.rotation (3 values), augment.scale (3 values)",
        ),
        ({"patch_size": 64, "patch_stages": 2}, "windows that grow over a trial's epochs"),
    ],
)
def test_what_cannot_be_shared_is_refused_when_the_config_is_loaded(
    augment: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        config(**augment)
    assert "pipeline.sharing: expected local or auto" in str(caught.value)
    assert said in str(caught.value)


@pytest.mark.parametrize("sharing", ["auto", "local"])
def test_otherwise_each_trial_has_its_own(sharing: str) -> None:
    assert list(sharing_problems(config(sharing, rotation={"float": [0.0, 20.0]})))
