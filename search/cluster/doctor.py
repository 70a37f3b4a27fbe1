"""Whether a cluster can hold a study: every node looked at, at once, before anything is trained.

One process a node (``search/cluster/inspector.py``), on 0 CPUs, answers a few questions; whoever
does not answer in time is reported, not waited for.
"""

from __future__ import annotations

import contextlib
import shutil
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
from rich.table import Table
from rich.text import Text

from data_pipeline.stores.store import Store
from model.processor import Processor
from search.cluster.inspector import Inspector, fingerprint_of, seen_gpus, versions
from search.cluster.nodes import LOOPBACK, alive_nodes, has_own_ray
from search.cluster.placement import Node, smallest_bundle
from search.cluster.slots import slots_on
from search.config.schema import StudyConfig
from search.config.settings import ResourceSettings
from search.errors import RunError

Level = Literal["ok", "warn", "fail"]

ANSWER_SECONDS = 30.0
CLOCK_SECONDS = 2.0
TRIAL_BYTES = 1e9  # a process with TensorFlow and a small model, where nothing is reserved
COLUMNS = 6
KINDS = 3
STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red"}

REMEDIES = {
    "answers": "look at the node's raylet.err and at its machine; or remove it from the cluster",
    "versions": "install the same constraints.txt on every node, and restart its Ray",
    "processor": "trials take several times as long there, which trial_timeout_minutes and the "
    "time left take into account; leave such nodes out where they hold up the search",
    "data": "put data.store_path on a folder that every node sees at the same path",
    "storage": "put study.storage_path on a folder that every node may write, at the same path",
    "shared storage": "every node must see one folder at study.storage_path, not one of its own",
    "disk: study": "make room, or lower resources.min_free_disk_gb",
    "disk: Ray": "make room there, start Ray with --temp-dir elsewhere, or lower "
    "resources.min_free_disk_gb",
    "memory": "end what else runs there, or have fewer trials a node: resources.cpus_per_trial or "
    "memory_per_trial up",
    "GPUs": "the driver or the CUDA libraries are missing: pip install 'tensorflow[and-cuda]'",
    "clock": "set the clock by NTP (chrony, systemd-timesyncd)",
    "ports": "open the nodes' ports to each other (all TCP ports above 1023)",
}


@dataclass(frozen=True)
class DoctorFinding:
    """What one check found on one node.

    Attributes:
        check: A key of ``REMEDIES``.
        node: Address of the node, with the beginning of its id where that is shared.
        level: ok; warn, which hinders no run; or fail.
        detail: What was found, in words.
    """

    check: str
    node: str
    level: Level
    detail: str

    def __str__(self) -> str:
        return f"{self.node}: {self.check}: {self.detail}; {REMEDIES[self.check]}"


def check_cluster(config: StudyConfig, store: Store, warn: Callable[[str], None]) -> None:
    """Look at every node before a run; a lone Ray of this machine's own, from this process.

    Args:
        config: The study.
        store: Its prepared data.
        warn: Called with each problem that hinders no run.

    Raises:
        RunError: listing every problem that does.
    """
    findings = examine_here(config, store) if has_own_ray() else examine(config, store)
    for finding in findings:
        if finding.level == "warn":
            warn(str(finding))
    failures = [finding for finding in findings if finding.level == "fail"]
    if failures:
        lines = "\n".join(f"  - {finding}" for finding in failures)
        raise RunError(f"the cluster cannot hold the study:\n{lines}")


def _slots(resources: ResourceSettings, node: Mapping[str, Any]) -> int:
    """Return how many trials a node has room for, by the resources that it registered with Ray."""
    known = Node(node["Resources"])
    return slots_on(known, smallest_bundle(resources, (known,)))


def examine_here(config: StudyConfig, store: Store) -> list[DoctorFinding]:
    """Return what can be found in milliseconds, without a process on the node."""
    check = _Check(config, store)
    with check.folder() as folder:
        check.note_storage({LOOPBACK: Inspector().write(str(folder), "driver")})
    (node,) = alive_nodes()
    check.slots = {LOOPBACK: max(1, _slots(config.resources, node))}
    check.note_looks({LOOPBACK: Inspector().look(str(store.path), check.places)})
    return check.findings


def examine(
    config: StudyConfig, store: Store, seconds: float = ANSWER_SECONDS
) -> list[DoctorFinding]:
    """Look at every node of the cluster, at once.

    Args:
        config: The study.
        store: Its prepared data, as the driver opened them.
        seconds: How long a node may take for an answer before it is given up.

    Returns:
        A finding for each check and node, good ones included.
    """
    check = _Check(config, store)
    nodes = {_label(node, alive_nodes()): node for node in alive_nodes()}
    check.slots = {name: _slots(config.resources, node) for name, node in nodes.items()}
    with contextlib.closing(InspectorPool(nodes, seconds)) as party:
        check.note_looks(party.ask("look", str(store.path), check.places))
        check.note_clocks(party.clocks())
        if config.origin is None:
            with check.folder() as folder:
                _share(check, party, folder)
        _connect(check, party, nodes)
        if config.resources.gpus_per_trial:
            check.note_gpus(_gpus(nodes, seconds))
        check.note_answers(nodes, party.silent)
    return check.findings


def _share(check: _Check, party: InspectorPool, folder: Path) -> None:
    """Have every node write a file, and then every node read all the others'."""
    written = party.ask_each("write", {n: (str(folder), f"node-{i}") for i, n in party.numbered()})
    check.note_storage(written)
    names = {n: f"node-{i}" for i, n in party.numbered() if written.get(n, "") is None}
    there = [*names.values(), "driver"]
    check.note_shared(party.ask("read", str(folder), there), names)


def _connect(check: _Check, party: InspectorPool, nodes: Mapping[str, Any]) -> None:
    """Have every node listen on a free port, and every other node open a connection to it."""
    address = {name: str(node["NodeManagerAddress"]) for name, node in nodes.items()}
    ports = party.ask_each("listen", {name: (address[name],) for name in party.members})
    if len(ports) < 2:
        return
    others = {
        name: ([(address[other], port) for other, port in ports.items() if other != name],)
        for name in ports
    }
    check.note_ports(party.ask_each("reach", others))


class InspectorPool:
    """An inspector on every node, asked at once; who is silent once is not asked again.

    Args:
        nodes: Name to what Ray says of the node.
        seconds: How long each question may take.
    """

    def __init__(self, nodes: Mapping[str, Mapping[str, Any]], seconds: float) -> None:
        actor = ray.remote(Inspector)
        self.members = {
            name: actor.options(num_cpus=0, scheduling_strategy=_on(node)).remote()
            for name, node in nodes.items()
        }
        self.silent: dict[str, str] = {}
        self._seconds = seconds

    def numbered(self) -> list[tuple[int, str]]:
        """Return the members that still answer, each with a number."""
        return list(enumerate(self.members))

    def ask(self, method: str, *arguments: Any) -> dict[str, Any]:
        """Return each member's answer to the same question."""
        return self.ask_each(method, dict.fromkeys(self.members, arguments))

    def ask_each(self, method: str, arguments: Mapping[str, tuple[Any, ...]]) -> dict[str, Any]:
        """Return each member's answer to a question of its own."""
        return {name: answer for name, answer, _ in self._gather(method, arguments)}

    def clocks(self) -> dict[str, float]:
        """Return how far each member's clock is ahead of this one, in seconds.

        The way there and back is halved (Cristian, 1989); the first question was asked before,
        so that no process has to start in the meantime.
        """
        start = time.time()
        answers = self._gather("clock", dict.fromkeys(self.members, ()))
        return {name: told - (start + heard) / 2 for name, told, heard in answers}

    def close(self) -> None:
        for member in self.members.values():
            ray.kill(member)

    def _gather(
        self, method: str, arguments: Mapping[str, tuple[Any, ...]]
    ) -> list[tuple[str, Any, float]]:
        """Return (name, answer, time it came) of those that answer in time."""
        waiting = {
            getattr(self.members[name], method).remote(*values): name
            for name, values in arguments.items()
        }
        deadline = time.monotonic() + self._seconds
        answers = []
        while waiting and (left := deadline - time.monotonic()) > 0:
            for reference in ray.wait(list(waiting), timeout=left)[0]:
                name, heard = waiting.pop(reference), time.time()
                try:
                    answers.append((name, ray.get(reference), heard))
                except (ray.exceptions.RayError, ImportError) as error:
                    self._drop(name, _last_line(error))
        for name in waiting.values():
            self._drop(name, f"expected an answer to {method!r} in {self._seconds:g} s, got none")
        return answers

    def _drop(self, name: str, why: str) -> None:
        self.silent[name] = why
        ray.kill(self.members.pop(name))


def _on(node: Mapping[str, Any]) -> NodeAffinitySchedulingStrategy:
    return NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)


def _label(node: Mapping[str, Any], nodes: Sequence[Mapping[str, Any]]) -> str:
    address = str(node["NodeManagerAddress"])
    alike = sum(other["NodeManagerAddress"] == address for other in nodes)
    return address if alike == 1 else f"{address} {node['NodeID'][:6]}"


def _last_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[-1] if lines else ''}"


def _gpus(nodes: Mapping[str, Mapping[str, Any]], seconds: float) -> dict[str, Any]:
    """Return the GPUs that TensorFlow sees where Ray grants one; None where none was granted."""
    task = ray.remote(seen_gpus)
    asked = {
        task.options(num_cpus=0, num_gpus=1, scheduling_strategy=_on(node)).remote(): name
        for name, node in nodes.items()
        if node["Resources"].get("GPU", 0) >= 1
    }
    done, pending = ray.wait(list(asked), num_returns=len(asked), timeout=2 * seconds)
    answers: dict[str, Any] = {asked[reference]: None for reference in pending}
    for reference in pending:
        ray.cancel(reference, force=True)
    for reference in done:
        try:
            answers[asked[reference]] = ray.get(reference)
        except (ray.exceptions.RayError, ImportError) as error:
            answers[asked[reference]] = _last_line(error)
    return answers


@dataclass
class _Check:
    """The answers judged, check by check."""

    config: StudyConfig
    store: Store
    findings: list[DoctorFinding] = field(default_factory=list)
    slots: Mapping[str, int] = field(default_factory=dict)

    @property
    def places(self) -> dict[str, str]:
        """The folders whose disks are looked at."""
        if self.config.origin is not None:  # in an object store; nodes hold scratch copies alone
            return {"disk: Ray": ""}
        return {"disk: study": str(self.config.directory), "disk: Ray": ""}

    @contextlib.contextmanager
    def folder(self) -> Iterator[Path]:
        """Make a folder in the study directory, or beside where it will be, and remove it.

        Raises:
            RunError: where this process cannot.
        """
        directory = self.config.directory
        parent = directory if directory.is_dir() else directory.parent
        folder = parent / f".doctor-{uuid.uuid4().hex[:12]}"
        try:
            folder.mkdir(parents=True)
            (folder / "driver").write_text("driver", encoding="utf-8")
        except OSError as error:
            finding = DoctorFinding(
                "storage", "this process", "fail", f"{type(error).__name__}: {error}"
            )
            raise RunError(str(finding)) from error
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def note(self, check: str, node: str, level: Level, detail: str) -> None:
        self.findings.append(DoctorFinding(check, node, level, detail))

    def note_answers(self, nodes: Mapping[str, Any], silent: Mapping[str, str]) -> None:
        for name in nodes:
            why = silent.get(name)
            slots = f"{self.slots.get(name, 0)} trials at once"
            self.note("answers", name, "fail" if why else "ok", why or slots)

    def note_looks(self, looks: Mapping[str, Mapping[str, Any]]) -> None:
        here = versions()
        # A node with an older version of this project does not say it.
        processors = {name: look.get("processor") for name, look in looks.items()}
        with_slots = (each for name, each in processors.items() if self.slots.get(name, 0))
        fastest = max((each for each in with_slots if each), default=None)
        for name, look in looks.items():
            self._note_versions(name, look["versions"], here)
            self._note_processor(name, processors[name], fastest)
            for place, free in look["disk"].items():
                self._note_disk(place, name, free)
            if self.slots.get(name, 0):
                self._note_data(name, look["fingerprint"], look["room"])
                self._note_memory(name, look["memory"])

    def _note_processor(
        self, name: str, there: Processor | None, fastest: Processor | None
    ) -> None:
        if there is None:
            self.note("processor", name, "ok", "not said")
            return
        # Trials on GPUs do not wait for the processor's convolutions.
        trains = self.slots.get(name, 0) and not self.config.resources.gpus_per_trial
        slower = trains and fastest is not None and there < fastest
        other = f", where the fastest node has {fastest}" if slower else ""
        self.note("processor", name, "warn" if slower else "ok", f"{there}{other}")

    def _note_versions(self, name: str, there: Mapping[str, str], here: Mapping[str, str]) -> None:
        other = [
            f"{package} {there.get(package)} here {version}"
            for package, version in here.items()
            if there.get(package) != version
        ]
        same = f"Python {here['python']}, TensorFlow {here['tensorflow']}"
        self.note("versions", name, "fail" if other else "ok", ", ".join(other) or same)

    def _note_data(self, name: str, fingerprint: str | None, room: int) -> None:
        if fingerprint == self.store.fingerprint:
            self.note("data", name, "ok", fingerprint[:8])
            return
        if fingerprint is None:
            detail = f"expected the prepared data in {self.store.path}"
        else:
            expected = self.store.fingerprint[:16]
            detail = f"expected fingerprint {expected}, received {fingerprint[:16]}"
        # Copied by the node's first trial, from where this process sees them.
        if fingerprint_of(self.store.path) != self.store.fingerprint:
            self.note("data", name, "fail", detail)
            return
        size = sum(path.stat().st_size for path in self.store.path.iterdir())
        if room < size:
            free = f"{room / 1e9:.1f} GB free for a copy of {size / 1e9:.1f} GB"
            self.note("data", name, "fail", f"{detail}, or room: {free}")
        else:
            self.note("data", name, "warn", f"{detail}: they are copied there")

    def _note_disk(self, place: str, name: str, free: int | None) -> None:
        limit = self.config.resources.min_free_disk_gb
        if free is None:
            self.note(place, name, "fail", "expected a disk, none can be read there")
        elif free < limit * 1e9:
            detail = f"expected {limit:g} GB free, received {free / 1e9:.1f} GB"
            self.note(place, name, "fail", detail)
        else:
            self.note(place, name, "ok", f"{free / 1e9:.0f} GB free")

    def _note_memory(self, name: str, free: int) -> None:
        asked = self.config.resources.memory_per_trial
        slots = min(self.slots[name], self.config.resources.max_concurrent or self.slots[name])
        # With auto, Ray counts the memory itself; a trial takes no less than an empty process.
        reserved = None if asked is None or asked == "auto" else asked * 1e9
        need = (reserved or TRIAL_BYTES) * slots
        detail = f"{free / 1e9:.0f} GB free"
        if free >= need:
            self.note("memory", name, "ok", detail)
            return
        level: Level = "fail" if reserved and free < reserved else "warn"
        self.note("memory", name, level, f"{detail}, {slots} trials at once want {need / 1e9:.0f}")

    def note_clocks(self, offsets: Mapping[str, float]) -> None:
        for name, offset in offsets.items():
            far = abs(offset) > CLOCK_SECONDS
            self.note("clock", name, "warn" if far else "ok", f"{offset:+.2f} s")

    def note_storage(self, written: Mapping[str, str | None]) -> None:
        for name, problem in written.items():
            self.note("storage", name, "fail" if problem else "ok", problem or "writable")

    def note_shared(self, unread: Mapping[str, Mapping[str, str]], own: Mapping[str, str]) -> None:
        node_of = {token: name for name, token in own.items()} | {"driver": "this process"}
        for name, problems in unread.items():
            others = [f"what {node_of[token]} wrote: {why}" for token, why in problems.items()]
            detail = f"cannot read {others[0]}" if others else "all readable"
            more = f" (and of {len(others) - 1} more)" if len(others) > 1 else ""
            self.note("shared storage", name, "fail" if others else "ok", detail + more)

    def note_ports(self, unreached: Mapping[str, Mapping[str, str]]) -> None:
        for name, problems in unreached.items():
            detail = ", ".join(f"{target} {why}" for target, why in problems.items())
            self.note("ports", name, "fail" if problems else "ok", detail or "all reachable")

    def note_gpus(self, seen: Mapping[str, Any]) -> None:
        for name, gpus in seen.items():
            if gpus is None:
                self.note("GPUs", name, "warn", "Ray granted none in time: are they in use?")
            elif isinstance(gpus, str) or not gpus:
                detail = gpus or "expected a GPU, TensorFlow sees none"
                self.note("GPUs", name, "fail", detail)
            else:
                self.note("GPUs", name, "ok", f"{len(gpus)} seen of 1 granted")


def findings_table(findings: Sequence[DoctorFinding]) -> Table:
    """Return checks as rows, nodes as columns; of many nodes, how many are well or of a kind."""
    nodes = sorted({finding.node for finding in findings})
    checks = [check for check in REMEDIES if any(f.check == check for f in findings)]
    cells = {(f.check, f.node): f for f in findings}
    table = Table("Check")
    for name in nodes if len(nodes) <= COLUMNS else [f"{len(nodes)} nodes"]:
        table.add_column(name, overflow="fold")
    for check in checks:
        found = [cells[check, name] for name in nodes if (check, name) in cells]
        if len(nodes) > COLUMNS:
            well = sum(finding.level == "ok" for finding in found)
            level: Level = max((finding.level for finding in found), key=list(STYLES).index)
            text = f"{well} of {len(found)} well{_kinds(found)}"
            table.add_row(check, Text(text, style=STYLES[level]))
        else:
            table.add_row(check, *(_cell(cells.get((check, name))) for name in nodes))
    return table


def _kinds(found: Sequence[DoctorFinding]) -> str:
    """Say what was found on how many nodes, such as their processors, where it is of few kinds."""
    kinds = Counter(finding.detail for finding in found if finding.detail)
    if not kinds or len(kinds) > KINDS:
        return ""
    return "".join(f"\n{count} x {detail}" for detail, count in kinds.most_common())


def _cell(finding: DoctorFinding | None) -> Text:
    if finding is None:
        return Text("–", style="dim")
    prefix = "" if finding.level == "ok" else f"{finding.level.upper()} "
    return Text(prefix + finding.detail, style=STYLES[finding.level])
