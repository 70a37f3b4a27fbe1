"""What the tests of the search share."""

from __future__ import annotations

from pathlib import Path

import pytest

from search.config.schema import StudyConfig
from tests.search.managers import config_in


@pytest.fixture
def config(tmp_path: Path) -> StudyConfig:
    """A study of 8 trials that a manager can be opened on."""
    return config_in(tmp_path)
