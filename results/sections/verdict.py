"""The verdict: which config to trust and why, class by class against the baselines."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd

from results import tables
from results.analysis.baseline_comparison import BaselineComparison, contest
from results.analysis.baselines import best_baseline
from results.analysis.boundary_analysis import edges_table
from results.analysis.confirmation import PREPARED_CAVEAT, Confirmation, where
from results.analysis.convergence import Convergence, convergence
from results.records.evaluation import Evaluation
from results.records.searched import searched_fields
from results.records.study import RecordError, StudyRecord
from results.sections import verdict_text
from results.sections.class_bars import bars
from results.sections.headline import headline
from results.sections.material import Material
from results.style.words import NONE, count, duration, magnitude, number, value_text
from results.tables import verdict as verdict_tables
from results.warnings import Caution, Evidence, cautions, cautions_table


@dataclass(frozen=True, eq=False)
class Verdict:
    """What the section says is computed from, each once."""

    material: Material

    @cached_property
    def confirmation(self) -> tuple[Confirmation | None, list[str]]:
        """The confirmation, and why it cannot be read."""
        try:
            return self.material.confirmation, []
        except RecordError as error:
            return None, list(error.problems)

    @cached_property
    def contest(self) -> BaselineComparison:
        return contest(self.material.study, self.material.scored[0], self.confirmation[0])

    @cached_property
    def converged(self) -> Convergence:
        return convergence(self.material.study)

    @cached_property
    def cautions(self) -> tuple[Caution, ...]:
        confirmation, unreadable = self.confirmation
        return cautions(
            Evidence(
                contest=self.contest,
                converged=self.converged,
                confirmation=confirmation,
                validation=self._validation,
                unreadable=self.material.scored[1],
                unconfirmed=[*unreadable, *self._left_out],
                edges=_edges(self.material.study),
            )
        )

    @property
    def _left_out(self) -> tuple[str, ...]:
        """What an unfinished confirmation leaves out; a finished one tells it in the contest."""
        confirmation = self.confirmation[0]
        if confirmation is None or self.contest.source == "confirmed":
            return ()
        return confirmation.problems

    @property
    def _validation(self) -> Evaluation | None:
        classes = self.material.study.classes
        for evaluation in self.material.scored[0]:
            if evaluation.split == "valid" and evaluation.classes == classes:
                return evaluation
        return None


def _edges(study: StudyRecord) -> list[str]:
    """Return the crowded ends that can be moved out: "model.num_layers: 3 to 9".

    The end at which the incumbent alone lies is left to the section of the fields.
    """
    table = edges_table(study).table
    wider = table[table["why"] == "best trials"]
    wider = wider.dropna(subset="wider").drop_duplicates("parameter")
    return [f"{row['parameter']}: {row['wider']}" for _, row in wider.iterrows()]


def build(material: Material) -> dict[str, Any]:
    """Return what the section's template prints."""
    verdict = Verdict(material)
    found = verdict.contest
    first = found.baselines[0] if found.baselines else None
    table = verdict_tables.class_table(found, first) if found.best else None
    return {
        "headline": headline(found, table, verdict.confirmation[0]),
        "short": verdict_text.short_path(found, table, verdict.cautions, verdict.converged),
        "cautions": verdict.cautions,
        "confirmed": found.source == "confirmed",
        "against": against(material, found),
        "ranking": ranking(found, verdict.confirmation[0]),
        "facts": facts(verdict),
        "parameters": parameter_rows(material.study, found),
        "fields_of": fields_of(material.study, found),
    }


def frames(material: Material) -> Mapping[str, pd.DataFrame]:
    """Return the section's tables, for files."""
    verdict = Verdict(material)
    best = verdict.contest.best
    confirmation = verdict.confirmation[0]
    found = {
        "best_against_baselines": verdict_tables.against_table(verdict.contest),
        "best_parameters": tables.parameters_table(material.study),
        "cost": verdict_tables.cost_table(
            material.study, material.tables.trials, best.trial if best else None
        ),
        "cautions": cautions_table(verdict.cautions),
    }
    return found if confirmation is None else found | {"confirmation": confirmation.ranking}


def against(material: Material, found: BaselineComparison) -> list[dict[str, Any]]:
    """Return the best config's classes against each baseline; one entry without a baseline."""
    if found.best is None:
        return []
    shown = []
    for place, rival in enumerate(found.baselines or (None,)):
        table = verdict_tables.class_table(found, rival)
        shown.append(
            {
                "key": f"baseline-{place}",
                "name": f"“{rival.trial.baseline}”" if rival else "",
                "trial": rival.trial.number if rival else None,
                "says": verdict_text.gain_sentence(found, rival) if rival else "",
                "classes": verdict_text.classes_against(found, rival, table) if rival else "",
                **bars(table, material.swatches),
            }
        )
    return shown


def ranking(found: BaselineComparison, confirmation: Confirmation | None) -> dict[str, Any] | None:
    """Return the confirmed configs from best to worst; None without a confirmation."""
    if confirmation is None:
        return None
    heads = ["Config", "Mean", "95 % interval", "Less than the best by", "In the search", "Seeds"]
    rows = []
    for _, row in confirmation.ranking.iterrows():
        name = f"trial {int(row['trial'])}"
        if isinstance(row["baseline"], str):
            name += f", baseline “{row['baseline']}”"
        gap = verdict_text.interval(row["gap_low"], row["gap_high"], sign=True)
        texts = [
            name,
            number(row["mean"]),
            verdict_text.interval(row["low"], row["high"]) or NONE,
            f"{number(row['gap'])} ({gap})" if gap else number(row["gap"]),
            number(row["searched"]),
            f"{int(row['seeds'])} of {confirmation.plan.seeds}",
        ]
        best = int(row["trial"]) == confirmation.incumbent
        rows.append([{"text": text, "num": i > 0, "strong": best} for i, text in enumerate(texts)])
    return {
        "heads": [{"text": head, "num": i > 0} for i, head in enumerate(heads)],
        "rows": rows,
        "says": _ranking_says(found, confirmation),
        "where": where(confirmation.plan),
    }


def _ranking_says(found: BaselineComparison, confirmation: Confirmation) -> str:
    lines = list(confirmation.verdict())
    if found.source == "confirmed" and found.best is not None:
        failed = [f"{run.name} failed: {why}" for run, why in confirmation.failed.items()]
        name = f"Trial {found.best.trial.number} confirmed best."
        prepared = confirmation.resolution == "prepared"
        caveats = [f"It was {PREPARED_CAVEAT}."] if prepared else []
        return " ".join([f"{name} {verdict_text.runner_up_sentence(found)}", *caveats, *failed])
    return ". ".join(line[:1].upper() + line[1:] for line in lines) + "."


def facts(verdict: Verdict) -> list[tuple[str, str, str]]:
    """Return what it cost, in a few figures: name, value, unit."""
    best = verdict.contest.best
    trial = best.trial if best else None
    data = verdict.material.tables
    cost = verdict_tables.cost_table(data.study, data.trials, trial).iloc[0]
    rows = [
        ("Trials", f"{int(cost['trials']):,}", "begun"),
        ("Epochs trained", f"{int(cost['epochs']):,}", "in all trials"),
        ("Worker time", duration(float(cost["worker_seconds"])), "in epochs"),
    ]
    if not math.isnan(cost["wall_seconds"]):
        span = duration(float(cost["wall_seconds"]))
        rows.append(("Wall time", span, "first start to last end"))
    if trial is not None and not math.isnan(cost["parameters"]):
        size = f"parameters, {magnitude(cost['flops'])}FLOP an image"
        rows.append(("Best model", magnitude(cost["parameters"]), size))
    if not math.isnan(cost["latency_ms"]):
        rows.append(("Latency", f"{cost['latency_ms']:.3g} ms", "an image"))
    if trial is not None and cost["best_seconds"] > 0:
        epochs = count(max(trial.epochs, len(trial.curve)), "epoch")
        rows.append(("Its training", duration(float(cost["best_seconds"])), epochs))
    confirmation = verdict.confirmation[0]
    if confirmation is not None:
        done = f"{len(confirmation.evaluations):,}"
        rows.append(("Confirmation", done, f"of {len(confirmation.plan.runs):,} trainings"))
    return rows


def fields_of(study: StudyRecord, found: BaselineComparison) -> str:
    """Heading of the searched fields."""
    return (
        f"Best configuration: trial {found.best.trial.number}"
        if found.best
        else ("The search space")
    )


def parameter_rows(study: StudyRecord, found: BaselineComparison) -> list[dict[str, str]]:
    """Return the searched fields of the best config and of the first baseline."""
    best = found.best.trial.params if found.best else {}
    rival = found.baselines[0].trial if found.baselines else best_baseline(study)
    baseline = rival.params if rival else {}
    return [
        {
            "name": name,
            "best": value_text(best.get(name)),
            "baseline": value_text(baseline.get(name)),
            "searched": field.text,
        }
        for name, field in searched_fields(study.config).items()
    ]
