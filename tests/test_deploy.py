"""The files of deploy/: of the form their readers want, closed to whoever has no token."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import ray
import yaml

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
LAUNCHER = ("ray-onprem.yaml", "ray-aws.yaml")


def load(name: str) -> Any:
    return yaml.safe_load((DEPLOY / name).read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", LAUNCHER)
def test_the_cluster_launcher_takes_its_files(name: str) -> None:
    folder = Path(ray.__file__).parent / "autoscaler"
    schema = json.loads((folder / "ray-schema.json").read_text(encoding="utf-8"))

    jsonschema.validate(load(name), schema)


@pytest.mark.parametrize("name", LAUNCHER)
def test_every_ray_of_the_cluster_launcher_wants_the_token(name: str) -> None:
    tree = load(name)
    starts = [
        command
        for kind in ("head_start_ray_commands", "worker_start_ray_commands")
        for command in tree[kind]
        if "ray start" in command
    ]

    assert len(starts) == 2
    assert all(re.search(r"RAY_AUTH_MODE=token \S*ray start", command) for command in starts)
    assert "~/.ray/auth_token" in tree["file_mounts"]
    assert "--dashboard-host=127.0.0.1" in starts[0]


def crds() -> Path:
    folder = os.environ.get("KUBERAY_CRDS")
    if not folder:
        pytest.skip("KUBERAY_CRDS does not name the folder of KubeRay's CRDs")
    return Path(folder)


def closed(schema: Any) -> Any:
    """The schema with unknown fields refused, as `kubectl apply --validate=strict` does."""
    if isinstance(schema, list):
        return [closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    schema = {key: closed(value) for key, value in schema.items()}
    open_ended = schema.get("x-kubernetes-preserve-unknown-fields")
    if isinstance(schema.get("properties"), dict) and not open_ended:
        schema.setdefault("additionalProperties", False)
    if schema.get("x-kubernetes-int-or-string"):
        schema["type"] = ["integer", "string"]
    return schema


@pytest.fixture(scope="module")
def rayjob_schema() -> Any:
    # Libyaml's loader, as safe and faster: the file has 1.4 MB.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    definition = yaml.load((crds() / "ray.io_rayjobs.yaml").read_bytes(), loader)
    (version,) = (v for v in definition["spec"]["versions"] if v["name"] == "v1")
    schema = closed(version["schema"]["openAPIV3Schema"])
    del schema["properties"]["metadata"]["type"]  # Kubernetes' own, which the CRD leaves open
    schema["properties"]["metadata"] = {"required": ["name"]}
    return schema


def test_kuberays_schema_takes_the_job(rayjob_schema: Any) -> None:
    jsonschema.Draft7Validator(rayjob_schema).validate(load("kuberay-rayjob.yaml"))


@pytest.mark.parametrize("unknown", ["shutdownAfterJobFinished", "rayClusterSpecs"])
def test_kuberays_schema_refuses_what_it_does_not_know(unknown: str, rayjob_schema: Any) -> None:
    job = load("kuberay-rayjob.yaml")
    job["spec"][unknown] = True

    with pytest.raises(jsonschema.ValidationError, match=unknown):
        jsonschema.Draft7Validator(rayjob_schema).validate(job)


def test_the_job_on_kubernetes_wants_the_token_and_is_not_offered_outside() -> None:
    cluster = load("kuberay-rayjob.yaml")["spec"]["rayClusterSpec"]

    assert cluster["authOptions"] == {"mode": "token", "secretName": "flexunet-ray-token"}
    assert cluster["headGroupSpec"]["serviceType"] == "ClusterIP"


def test_the_image_wants_the_token_and_copies_what_there_is() -> None:
    text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    copied = [name for line in re.findall(r"^COPY (.+) \S+$", text, re.M) for name in line.split()]

    assert "RAY_AUTH_MODE=token" in text
    assert {"search", "model", "data_pipeline", "results"} <= set(copied)
    assert [name for name in copied if not (ROOT / name).exists()] == []


def test_the_slurm_script_is_bash_and_wants_the_token() -> None:
    path = DEPLOY / "slurm.sbatch"
    text = path.read_text(encoding="utf-8")

    subprocess.run(["bash", "-n", str(path)], check=True)
    assert "export RAY_AUTH_MODE=token" in text
    assert text.index("RAY_AUTH_MODE=token") < text.index("start --block")


def test_the_versions_named_are_those_of_the_project() -> None:
    constraints = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    version = load("kuberay-rayjob.yaml")["spec"]["rayClusterSpec"]["rayVersion"]

    assert f"ray=={version}" in constraints.splitlines()
