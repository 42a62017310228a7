"""A comparison as a program holds it."""

import json

import pytest

from losstune.tuning.commands.comparison_view import ComparisonView
from losstune.tuning.confirm.compare import compare
from tests.tuning.reported import confirmed, searched


@pytest.fixture(scope="module")
def view(tmp_path_factory: pytest.TempPathFactory) -> ComparisonView:
    study = confirmed(searched(tmp_path_factory.mktemp("compared"), (4, 4)))
    return ComparisonView(**dict(compare(study)))


def test_it_has_the_winner_the_pairs_and_all_as_plain_values(view: ComparisonView) -> None:
    assert view.winner == "infonce"
    assert {(pair.first, pair.second, pair.measure) for pair in view.pairs} == {
        ("infonce", "cosine", "mrr"),
        ("cosine", "infonce", "cosine_sim"),
    }
    plain = json.loads(json.dumps(view.to_dict()))
    assert plain["winner"] == "infonce"
    assert plain["pairs"][0]["difference"]["value"] == view.pairs[0].difference.value
    assert plain["answer"]


def test_printed_or_in_a_notebook_it_says_what_the_command_prints(view: ComparisonView) -> None:
    forms = view._repr_mimebundle_()
    assert str(view) == forms["text/plain"]
    for sentence in view.to_dict()["answer"]:
        assert f"• {sentence}" in str(view)
    assert "infonce untuned" in forms["text/html"]
