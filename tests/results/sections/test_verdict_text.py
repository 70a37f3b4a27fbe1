from __future__ import annotations

import math
from dataclasses import replace

import pandas as pd
import pytest

from results.analysis.baseline_comparison import contest
from results.analysis.convergence import Convergence, convergence
from results.sections.headline import headline
from results.sections.verdict_text import (
    because,
    classes_against,
    classes_sentence,
    fails_on,
    gain_sentence,
    interval,
    runner_up_sentence,
    short_path,
    trust,
)
from results.tables.verdict import class_table
from results.warnings import Caution
from tests.results.conftest import MakeStudy
from tests.results.verdicts import (
    BETTER,
    WORSE,
    best_of,
    confirmed,
    cut_short,
    scored,
    scored_contest,
    studied,
)


def test_intervals_in_words() -> None:
    assert interval(0.1, 0.25) == "0.100 to 0.250"
    assert interval(-0.1, 0.25, sign=True) == "−0.100 to +0.250"
    assert interval(math.nan, math.nan) == ""


def test_a_gain_of_one_training_each_is_above_chance_only(make_study: MakeStudy) -> None:
    found = scored_contest(studied(make_study))
    sentence = gain_sentence(found, found.baselines[0])

    assert sentence.startswith(
        "The gain over the baseline “reference” is above chance for these two trained models on "
        "these 6 groups: +0.067 mean foreground Dice (95 % interval +0.067 to +"
    )
    assert "chosen on the same images" in sentence
    assert "one training each: another seed may differ" in sentence
    assert "fewer than five groups, so the interval is unreliable" in sentence
    assert because(found).endswith(sentence)


def test_a_gain_is_real_over_seeds_and_enough_groups(make_study: MakeStudy) -> None:
    study = studied(make_study)
    fray = ((2, 2, 25), (2, 0, 25), (0, 0, 20))  # in every group, not in the first one alone
    better, worse = ((1, 1, 20), (1, 0, 10), *fray), ((1, 1, 15), (1, 0, 15), *fray)

    def sentence(seeds: int, few: bool) -> str:
        best, rival = (BETTER, WORSE) if few else (better, worse)
        whole = confirmed(study, {best_of(study).number: best, 0: rival}, seeds=seeds)
        found = contest(study, [], whole)
        return gain_sentence(found, found.baselines[0])

    assert " is real on these 6 groups and 2 seeds: +" in sentence(2, few=False)
    assert "Mind" not in sentence(2, few=False)
    assert " is above chance on these 6 groups and 2 seeds: +" in sentence(2, few=True)
    assert "for these two trained models on these 6 groups: +" in sentence(1, few=False)
    assert sentence(1, few=False).endswith("Mind: one seed each: another seed may differ.")


def test_a_baseline_that_was_not_scored_is_told(make_study: MakeStudy) -> None:
    study = studied(make_study)
    words = because(contest(study, [scored(best_of(study), BETTER)]))

    assert words.endswith(
        "The baseline “reference” was not measured alike (flexunet-search score STUDY_DIR)."
    )


def test_no_gain_is_called_real_over_a_baseline_that_had_fewer_epochs(
    make_study: MakeStudy,
) -> None:
    study = cut_short(studied(make_study), "PRUNED")
    found = scored_contest(study)
    sentence = gain_sentence(found, found.baselines[0])

    assert sentence.startswith(
        "Against the baseline “reference”, which had 3 of its 27 epochs, it has "
        "+0.067 mean foreground Dice (95 % interval +0.067 to +"
    )
    assert sentence.endswith("no gain can be told from unequal training.")
    table = class_table(found, found.baselines[0])
    assert set(table["outcome"]) == {"unknown"}
    assert classes_against(found, found.baselines[0], table) == ""
    anew = confirmed(study, {best_of(study).number: BETTER, 0: WORSE})
    told = contest(study, [], anew)
    assert "above chance" in gain_sentence(told, told.baselines[0])


def test_a_baseline_that_has_ended_by_itself_had_its_chance(make_study: MakeStudy) -> None:
    found = scored_contest(cut_short(studied(make_study), "COMPLETE"))

    assert "above chance" in gain_sentence(found, found.baselines[0])


def test_a_loss(make_study: MakeStudy) -> None:
    found = scored_contest(studied(make_study), WORSE, BETTER)

    assert "It is worse than the baseline “reference”" in gain_sentence(found, found.baselines[0])


def test_no_difference(make_study: MakeStudy) -> None:
    found = scored_contest(studied(make_study), BETTER, BETTER)
    sentence = gain_sentence(found, found.baselines[0])

    assert "It is not distinguishable from the baseline “reference” on these 6 groups" in sentence
    assert "0.000 to 0.000 includes 0" in sentence


def test_unscored_nothing_is_called_real(make_study: MakeStudy) -> None:
    found = contest(studied(make_study))
    sentence = gain_sentence(found, found.baselines[0])

    assert "flexunet-search score STUDY_DIR" in sentence
    assert "is real on" not in sentence


def rows(*outcomes: tuple[str, str, bool]) -> pd.DataFrame:
    """A class table of such outcomes behind the background."""
    given = [("background", "open", False), *outcomes]
    return pd.DataFrame(
        {
            "class": [name for name, _, _ in given],
            "kind": "class",
            "outcome": [each for _, each, _ in given],
            "few": [few for _, _, few in given],
            "difference": 0.1,
        }
    )


def test_classes_are_told_by_outcome() -> None:
    table = rows(
        ("Crack", "gains", False),
        ("Fray", "gains", True),
        ("Break", "loses", False),
        ("Uneven", "open", True),
        ("Hole", "unknown", True),
    )

    assert classes_sentence(table) == (
        "It gains in Crack, loses in Break, seems to gain, on few groups, in Fray and cannot be "
        "told apart in Uneven; without an interval: Hole."
    )


def test_thirty_classes_are_not_all_named() -> None:
    names = [(f"Class {n:02d}", "gains", False) for n in range(30)]

    assert classes_sentence(rows(*names)) == (
        "It gains in Class 00, Class 01, Class 02, Class 03 and 26 more."
    )


def test_without_intervals_the_classes_are_counted() -> None:
    table = rows(("Crack", "unknown", False), ("Fray", "unknown", False))

    assert classes_sentence(table) == "It beats the baseline in 2 of 2 foreground classes."
    assert classes_sentence(table.assign(difference=math.nan)) == ""


def test_runners_up(make_study: MakeStudy) -> None:
    study = studied(make_study)
    one, two = (t.number for t in study.trials if t.number)
    tied = contest(study, [], confirmed(study, {one: BETTER, two: BETTER, 0: WORSE}))
    clear = contest(study, [], confirmed(study, {one: BETTER, two: WORSE, 0: WORSE}))
    alone = contest(study, [], confirmed(study, {one: BETTER}))

    assert runner_up_sentence(tied) == f"It is not distinguishable from trial {two}."
    assert (
        runner_up_sentence(clear) == "It is better than each of the 2 others that were confirmed."
    )
    assert "No other config" in runner_up_sentence(alone)
    assert runner_up_sentence(contest(study)) == ""


def test_whom_to_trust(make_study: MakeStudy) -> None:
    study = studied(make_study)
    best = best_of(study).number
    whole = contest(study, [], confirmed(study, {best: BETTER, 0: WORSE}))
    leak = Caution("leak", "", "", bad=True)

    assert trust(contest(study), ()).startswith(f"Trial {best}, for now: it is not confirmed")
    assert trust(contest(study), (leak,)).startswith("No config yet: with the data leak")
    assert trust(whole, ()).startswith(f"Trial {best}. Confirmed on these 6 groups and 2 seeds.")
    only = replace(study, trials=study.trials[:1])
    assert trust(contest(only), ()).startswith("The baseline “reference”, trial 0: no searched")


def test_a_baseline_that_confirmed_best_beat_the_confirmed_alone(make_study: MakeStudy) -> None:
    study = studied(make_study)
    whole = confirmed(study, {best_of(study).number: WORSE, 0: BETTER})
    found = contest(study, [], whole)
    statement = headline(found, class_table(found), whole)["statement"]

    assert "trial 0: no config that was confirmed did better. Confirmed" in trust(found, ())
    assert statement.startswith(
        "No config that was confirmed did better than the baseline “reference” (trial 0), its "
        "config trained anew, on 7 images of 6 groups"
    )


def test_it_is_said_that_answers_are_averaged(make_study: MakeStudy) -> None:
    study = studied(make_study)
    models = [scored(best_of(study), BETTER, flips="all"), scored(study.trials[0], WORSE)]
    found = contest(study, models)
    statement = headline(found, class_table(found), None)["statement"]

    words = "on 7 images of 6 groups, answers averaged over each image and its three mirror images."
    assert words in statement
    assert found.missing == (study.trials[0],)
    assert "expected flips 'all', received 'none'" in found.problems[0]


def test_classes_that_are_not_shown_do_not_fail(make_study: MakeStudy) -> None:
    table = class_table(scored_contest(studied(make_study)))
    absent = table.assign(true_groups=table["true_groups"].where(table["class"] != "Fray", 0))

    assert fails_on(table).startswith("Fray, with Dice 0.667; then Crack 0.800")
    assert fails_on(absent).startswith("Crack, with Dice 0.800 (0.800 to 0.800), the only class.")
    assert fails_on(absent).endswith("Not in these images: Fray.")


@pytest.mark.parametrize(
    ("probability", "told"),
    [
        (0.5, "of 50 %: go on searching"),
        (0.05, "of 5 %: rather look at the images of Fray"),
        (0.001, "of < 1 %: rather"),
    ],
)
def test_what_to_do_next(make_study: MakeStudy, probability: float, told: str) -> None:
    study = studied(make_study)
    best = best_of(study)
    trials = tuple(replace(t, best_epoch=20) if t is best else t for t in study.trials)
    found = scored_contest(replace(study, trials=trials))
    row = {"more": 20, "probability": probability, "low": 0.0, "high": 1.0}
    converged = Convergence(pd.DataFrame([row]), 30, None, 0.01, 3, 81)
    lines = short_path(found, class_table(found), (), converged)

    assert [line["question"] for line in lines] == ["Trust", "Because", "Still fails on", "Next"]
    assert told in lines[3]["answer"]
    assert all(line["href"].startswith("#") for line in lines)


def test_an_edge_is_the_next_thing_to_search(make_study: MakeStudy) -> None:
    study = studied(make_study)
    found = contest(study)
    edge = Caution("edge of the range", "", "Search wider next: model.num_layers: 3 to 9.")
    lines = short_path(found, class_table(found), (edge,), convergence(study))

    assert lines[3] == {
        "question": "Next",
        "answer": edge.action,
        "href": "#parameters",
        "link": "Hyperparameters",
    }


def test_nothing_is_said_without_a_result(make_study: MakeStudy) -> None:
    study = studied(make_study, trials=0, states={})

    assert short_path(contest(study), None, (), convergence(study)) == []
