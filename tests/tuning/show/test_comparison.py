"""A comparison on the terminal: every number in its table, then the sentences."""

import io
from collections.abc import Callable

import pytest
from rich.console import Console

from losstune.tuning.confirm.compare import compare
from losstune.tuning.confirm.findings import TEST_METRICS, Comparison
from losstune.tuning.confirm.sentences import answer_sentences
from losstune.tuning.confirm.short_answer import short_answer
from losstune.tuning.confirm.statistics import Difference, Interval
from losstune.tuning.show.comparison import (
    comparison_json,
    geometry_table,
    ordered_rows,
    row_title,
    scores_table,
    show_answer,
    show_comparison,
    tuning_table,
)
from losstune.tuning.show.table import Measured, Noted
from tests.tuning.confirm.test_sentences import comparison, row
from tests.tuning.reported import confirmed, searched

GAIN = Difference(0.07, 0.05, 0.09, 0.0001, 0.95)
SIGNS = {"effective_rank": 21.34, "hubness": 0.846, "alignment": 0.5, "uniformity": -2.0}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    return compare(confirmed(searched(tmp_path_factory.mktemp("root"), trials=(3, 3))))


def printed(
    comparison: Comparison, width: int, show: Callable[[Comparison, Console], None] = show_comparison
) -> list[str]:
    console = Console(width=width, file=io.StringIO())
    with console.capture() as capture:
        show(comparison, console)
    return capture.get().splitlines()


def test_picks_come_first_the_best_on_top_then_starts_then_baselines() -> None:
    rows = [
        row("ridge", "baseline", validation=0.9),
        row("mse-start", "start", validation=0.8),
        row("mse-0002", validation=0.2),
        row("infonce-0007", validation=0.3),
        row("chance", "baseline", validation=None),
    ]
    assert [row_title(own) for own in ordered_rows(comparison(rows=rows))] == [
        "infonce",
        "mse",
        "mse untuned",
        "ridge",
        "chance",
    ]


def test_scores_name_their_runs_on_the_page_alone() -> None:
    table = scores_table(comparison(rows=[row("mse-0002"), row("ridge", "baseline")]), TEST_METRICS[:6])
    assert [column.heading for column in table.columns if column.page_only] == ["runs in MLflow"]
    pick, ridge = table.rows
    assert pick.cells == [*[Measured(Interval(0.331, 0.320, 0.342))] * 6, Noted("mse-0002", "/seed-00 … 09")]
    assert ridge.cells[-1] == "confirm/ridge"
    assert (pick.loss, pick.quiet, ridge.loss, ridge.quiet) == ("mse", False, None, True)


def test_what_tuning_gained_or_that_the_start_was_the_best() -> None:
    untuned = row("cosine-start", validation=0.1, optimism=-0.01)
    rows = [row("mse-0002", gain={"mrr": GAIN}, validation=0.357), untuned, row("cosine-start", "start")]
    table = tuning_table(comparison(rows=rows))
    assert [(own.name, *own.cells) for own in table.rows] == [
        ("mse", Measured(GAIN, signed=True), "0.400", "0.357", "+0.043", "810", "1:00"),
        ("cosine", "is untuned", "0.400", "0.100", "-0.010", "810", "1:00"),
    ]


def test_signs_of_a_bad_embedding() -> None:
    rows = [row("mse-0002", geometry=SIGNS, flags=["collapsed", "hubs"]), row("infonce-0007", validation=0.1)]
    assert [list(own.cells) for own in geometry_table(comparison(rows=rows)).rows] == [
        ["21.3", "0.85", "0.500", "-2.000", "collapsed; hubs"],
        ["–", "–", "–", "–", "none"],
    ]


@pytest.mark.parametrize(("width", "tables_of_scores"), [(78, 3), (79, 2), (80, 2), (134, 2), (135, 1), (150, 1)])
def test_the_tables_fit_and_no_number_is_cut(found: Comparison, width: int, tables_of_scores: int) -> None:
    lines = printed(found, width)
    tables = [line for line in lines if "±" in line]
    assert max(map(len, tables)) <= width
    assert not [line for line in lines if "…" in line]
    assert any(line.startswith("infonce untuned") for line in tables)
    assert sum(line.startswith("test ") for line in lines) == tables_of_scores


def test_a_metric_that_an_earlier_release_did_not_score_has_no_column(found: Comparison) -> None:
    before = {name: limits for name, limits in found.rows[0].test.items() if name not in ("mrr_at_10", "ndcg_at_10")}
    earlier = comparison(rows=[row("mse-0002"), row("ridge", "baseline", test=before)])
    assert earlier.metrics == ("cosine_sim", "mrr", "recall_at_1", "recall_at_5", "recall_at_10", "mse")


def test_every_sentence_stands_above_the_tables(found: Comparison) -> None:
    lines = printed(found, 80)
    said = [f"• {sentence}" for sentence in answer_sentences(found)]
    assert lines[: len(said)] == said
    assert "±" not in "".join(lines[: len(said)])


def test_the_answer_comes_first_then_one_table_that_fits_eighty_columns(found: Comparison) -> None:
    lines = printed(found, 80, show_answer)
    said = [f"• {sentence}" for sentence in short_answer(found)]
    assert lines[: len(said)] == said
    assert sum("─" in line for line in lines) == 1
    (heading,) = [line for line in lines if line.startswith("test ")]
    assert heading.split() == ["test", "MRR", "cosine", "similarity", "gain", "in", "MRR"]
    assert max(len(line) for line in lines if "±" in line) <= 80
    assert not [line for line in lines if "No room" in line or "…" in line]
    names = {line[:17].strip() for line in lines if "±" in line}
    assert {"infonce", "cosine", "infonce untuned", "ridge, centred"} <= names
    assert lines[-1].startswith("losstune compare study --all shows all pairs")


def test_a_small_terminal_gets_fewer_columns_and_whole_numbers(found: Comparison) -> None:
    lines = printed(found, 40, show_answer)
    assert "No room for: cosine similarity, gain in MRR" in " ".join(" ".join(lines).split())
    assert max(len(line) for line in lines if "±" in line) <= 40


def test_the_guide_is_spoken_of_only_where_its_losses_are(found: Comparison) -> None:
    assert "The guide's claims on this data:" in printed(found, 80)
    assert not [line for line in printed(found.model_copy(update={"guide": []}), 80) if "guide" in line]


@pytest.mark.parametrize(("partings", "runs"), [(["a"], "1 run,"), (["a", "b"], "2 runs,")])
def test_validation_loss_that_parts_from_the_objective(partings: list[str], runs: str) -> None:
    lines = printed(comparison(partings=partings), 80)
    told = lines.index(f"Validation loss and objective part ways in {runs} the first of them:")
    assert lines[told + 1] == "• a"


def test_json_has_the_numbers_and_the_sentences(found: Comparison) -> None:
    told = comparison_json(found)
    assert Comparison.model_validate({name: told[name] for name in Comparison.model_fields}) == found
    assert told["answer"] == answer_sentences(found)
    assert told["enough_seeds"] is True
    assert len(told["guide_sentences"]) == len(found.guide) == 2
    assert set(told["rows"][0]["test"]) == set(TEST_METRICS)
