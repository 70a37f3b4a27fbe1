"""The pages of docs/: docs/model.md names what there is to configure."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from data_pipeline.augmentation.operations import OPERATIONS
from model.config import ModelConfig, TrainConfig
from model.losses import LOSSES

PAGE = (Path(__file__).parents[1] / "docs" / "model.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", [*ModelConfig.model_fields, *TrainConfig.model_fields, *LOSSES])
def test_each_field_and_loss_is_documented(name: str) -> None:
    assert f"`{name}`" in PAGE


ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("name", OPERATIONS)
def test_each_operation_is_documented_with_a_picture(name: str) -> None:
    page = (ROOT / "docs" / "augmentation.md").read_text(encoding="utf-8")

    assert f"| `{name}` |" in page
    assert f"(augmentation/{name}.jpg)" in page


def test_links_between_pages_lead_somewhere() -> None:
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("benchmarks/*.md")]
    links = [
        (page, target)
        for page in pages
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8"))
        if "://" not in target
    ]

    assert links
    broken = [f"{p.name} -> {t}" for p, t in links if not (p.parent / t).exists()]
    assert broken == []


def script(name: str) -> ModuleType:
    """A script of docs/, which is no package."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


def test_what_follows_from_the_fields_is_the_present_one() -> None:
    for path, text in script("field_tables").written().items():
        assert path.read_text(encoding="utf-8") == text, f"{path.name}: run make schema"


def test_the_list_of_modules_is_the_present_one() -> None:
    made = script("module_map")

    page = (ROOT / "docs" / "modules.md").read_text(encoding="utf-8")
    assert page == made.module_map(), "run: make modules"
    modules = {p.stem for room in made.ROOMS for p in (ROOT / room).rglob("*.py")} - {"__init__"}
    assert all(f"| `{name}.py` | " in page for name in modules)
