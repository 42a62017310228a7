import json
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from losstune.trainer.base.errors import UserError
from losstune.tuning.confirm.plan import latest_finished
from losstune.tuning.report.page import report_html, write_report
from losstune.tuning.space.reader import load_space
from losstune.tuning.storage.home import Home
from losstune.tuning.study.dropped import Dropped
from losstune.tuning.study.loss_trials import LossTrials
from losstune.tuning.study.study import Study, create_study
from tests.tuning.reported import confirmed, searched
from tests.tuning.samples import settings_of

HOSTILE = "a<script>window.hacked = 1<"
MAX_BYTES = 8_000_000
WIDTHS = (1280, 400)

Reports = dict[str, tuple[Study, Path]]


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> Reports:
    """A study of hostile names before and after its confirmation, and one without a trial."""
    root = tmp_path_factory.mktemp("root") / HOSTILE
    study = searched(root, trials=(22, 8), data='"><img src=x onerror="window.hacked=1">')
    space = study.spec.search_spaces()["cosine"]
    why = Dropped("cosine", 0.3, 0.35, 0.0, 50, "infonce", 0.4, 100, 200, "epochs")
    LossTrials(study.storage(), "cosine", space).drop(why.to_dict())
    made = {"search": (study, root / "search.html")}
    write_report(study, made["search"][1])
    made["confirmed"] = (confirmed(study), root / "confirmed.html")
    write_report(study, made["confirmed"][1])
    empty = searched(root / "empty", trials=(0, 0))
    made["empty"] = (empty, root / "empty.html")
    write_report(empty, made["empty"][1])
    return made


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with (
        sync_playwright() as playwright,
        playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"]) as browser,
    ):
        yield browser


@dataclass
class Opened:
    """A report in a browser, with all that it complained of or asked for."""

    page: Page
    complaints: list[str]
    requests: list[str]


def opened(browser: Browser, path: Path) -> Opened:
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    found = Opened(page, [], [])
    page.on("console", lambda message: found.complaints.append(message.text))
    page.on("pageerror", lambda error: found.complaints.append(str(error)))
    page.on("request", lambda request: found.requests.append(request.url))
    page.goto(path.as_uri())
    return found


def becomes(page: Page, script: str, value: Any, seconds: float = 60) -> None:
    """Wait until a script says so; Playwright's own waiting is what the page's policy forbids."""
    end = time.monotonic() + seconds
    while (found := page.evaluate(script)) != value and time.monotonic() < end:
        page.wait_for_timeout(20)
    assert found == value


def figures_of(page: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="figures">(.*?)</script>', page, re.DOTALL)
    assert found
    return json.loads(found[1])


def text_of(path: Path) -> str:
    """What a report says, without its scripts and its styles."""
    return re.sub(r"<(script|style)\b.*?</\1>", "", path.read_text(), flags=re.DOTALL)


DRAWN = "[...document.querySelectorAll('.figure')].map(f => [f.id, f.querySelectorAll('.main-svg .trace').length])"
OUTSIDE = """[...document.querySelectorAll('.figure svg')].map(svg => svg.getBoundingClientRect())
    .filter(box => box.left < 0 || box.right > innerWidth || box.width < 100).length"""


@pytest.mark.parametrize("name", ["search", "confirmed", "empty"])
def test_the_page_draws_everything_by_itself_and_fits(reports: Reports, browser: Browser, name: str) -> None:
    path = reports[name][1]
    found = opened(browser, path)
    for width in WIDTHS:
        found.page.set_viewport_size({"width": width, "height": 900})
        becomes(found.page, OUTSIDE, 0)
        assert found.page.evaluate("document.documentElement.scrollWidth") <= width
    drawn = found.page.evaluate(DRAWN)
    assert {figure for figure, traces in drawn if traces > 0} == set(figures_of(path.read_text()))
    assert found.page.evaluate("window.hacked === undefined && document.querySelectorAll('img').length === 0")
    assert found.complaints == []
    assert found.requests == [path.as_uri()]
    found.page.close()


def test_the_report_is_small_enough_to_send(reports: Reports) -> None:
    assert all(path.stat().st_size < MAX_BYTES for _, path in reports.values())


def test_figures_are_narrow_enough_while_printed_and_wide_again_after(reports: Reports, browser: Browser) -> None:
    page = opened(browser, reports["confirmed"][1]).page
    widths = "[...document.querySelectorAll('.figure')].map(f => f.querySelector('.main-svg').clientWidth)"
    before = page.evaluate(widths)
    printed = page.evaluate(f"dispatchEvent(new Event('beforeprint')); {widths}")
    assert max(printed) < 182 / 25.4 * 96 < max(before)  # A4 without its margins
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    becomes(page, widths, before)
    page.close()


def test_every_figure_is_one_that_plotly_knows(reports: Reports) -> None:
    """Plotly's own validation: in the browser a misspelt attribute is silently ignored."""
    figures = [figure for _, path in reports.values() for figure in figures_of(path.read_text()).values()]
    assert len(figures) == 18
    for figure in figures:
        go.Figure(figure)


def test_a_confirmed_report_has_every_figure(reports: Reports) -> None:
    parameters = {"importance-infonce", "slice-infonce-0", "slice-infonce-1", "slice-infonce-2"}
    expected = {"scores-0", "scores-1", "differences-0", "differences-1", "search", "learning", "rungs", *parameters}
    assert set(figures_of(reports["confirmed"][1].read_text())) == expected


def test_a_confirmation_that_stopped_settings_early_says_how_many_seeds_at_most(tmp_path: Path) -> None:
    text = report_html(confirmed(searched(tmp_path, trials=(3, 3)), early=True))
    for told in ("<dd>at most 10 fresh seeds, ", "Means over at most 10 seeds and 25", "over at most 10 fresh seeds: "):
        assert told in text


def test_the_guide_is_checked(reports: Reports) -> None:
    assert "“infonce gives 10–20 % more" in text_of(reports["confirmed"][1])
    assert "The guide’s claims" not in text_of(reports["search"][1])


def test_the_answer_comes_first(reports: Reports) -> None:
    text = text_of(reports["confirmed"][1])
    assert (
        text.index("infonce (infonce-")
        < text.index("is the choice")
        < text.index("infonce beats cosine on MRR")
        < text.index("<nav>")
    )
    assert text.index("<nav>") < text.index("cosine beats infonce on cosine similarity")
    assert "not confirmed" not in text


def test_an_unconfirmed_report_says_so_first_and_claims_nothing(reports: Reports) -> None:
    text = text_of(reports["search"][1])
    assert text.index("The choice is not confirmed") < text.index("<nav>")
    assert "<code>losstune confirm study --storage &#39;/" in text
    assert "beats" not in text
    assert "95 % interval" not in text.split("Was the first rung")[0]
    assert not {"scores-0", "differences-0"} & set(figures_of(reports["search"][1].read_text()))


def test_numbers_name_their_runs(reports: Reports) -> None:
    study, path = reports["confirmed"]
    text = text_of(path)
    plan = latest_finished(study)
    assert plan is not None
    for loss in ("infonce", "cosine"):
        assert f"{plan.candidates(loss)[0].name}<small>/seed-00 … 09</small>" in text
    assert "confirm/ridge_centered" in text
    assert "experiment <code>study</code>" in text


def test_what_users_wrote_is_shown_and_not_run(reports: Reports) -> None:
    path = reports["confirmed"][1]
    text = text_of(path)
    assert "<img" not in text
    assert "<script" not in text
    assert not re.search(r"<(?!br>)", json.dumps(figures_of(path.read_text())))
    assert "<" not in path.read_text().split('id="figures">')[1].split("</script>")[0]
    assert "ValueError: &lt;script&gt;window.hacked = 1&lt;/script&gt;" in text
    assert "a&lt;script&gt;window.hacked = 1&lt;/studies/study" in text
    assert "Which loss on &#34;&gt;&lt;img src=x onerror=&#34;window.hacked=1&#34;&gt;?" in text


INJECTED = """const script = document.createElement('script');
    script.textContent = 'window.hacked = 1';
    const image = document.createElement('img');
    image.setAttribute('onerror', 'window.hacked = 1');
    image.src = 'data:,';
    document.body.append(script, image);"""


def test_the_page_may_run_its_own_scripts_only(reports: Reports, browser: Browser) -> None:
    assert "content=\"default-src 'none'; script-src 'sha256-" in text_of(reports["empty"][1])
    page = opened(browser, reports["empty"][1]).page
    page.evaluate(INJECTED)
    page.wait_for_timeout(50)
    assert page.evaluate("window.hacked === undefined")
    page.close()


def test_trials_dropped_losses_and_ends_are_told(reports: Reports) -> None:
    text = text_of(reports["confirmed"][1])
    assert (
        "cosine after 50 epochs: best 0.3000, at its recent slope at most 0.3500 by the end; infonce has 0.4000" in text
    )
    assert ">cut at rung 3</span>" in text
    assert 'class="diverged"' in text
    assert "8<small>72 epochs</small>" in text  # every third of 22 trials used its 9 epochs


def test_few_trials_have_no_importance_but_say_so(reports: Reports) -> None:
    assert "Too few trials" in text_of(reports["empty"][1])
    assert "Too few runs got to the end" in text_of(reports["empty"][1])
    assert text_of(reports["confirmed"][1]).count("Too few trials") == 1  # cosine has 8


def test_a_search_in_a_space_that_grew_is_not_said_to_be_repeated(tmp_path: Path) -> None:
    study = create_study(Home(tmp_path), "grown", [load_space("cosine")], settings_of(), "digits", "0" * 64)
    assert "grew on the way" not in report_html(study)
    grown = Study(study.home, study.spec.model_copy(update={"grown": {"cosine": [study.spec.spaces["cosine"]]}}))
    assert "What is searched for cosine grew on the way: the first trials were drawn from " in report_html(grown)


def test_a_study_without_rungs_says_that_nothing_was_cut(tmp_path: Path) -> None:
    settings = settings_of(max_epochs=5, grace_epochs=5, trials=1)
    study = create_study(Home(tmp_path), "flat", [load_space("guide_1_mse")], settings, "digits", "0" * 64)
    assert "This study cuts nothing" in report_html(study)


@pytest.mark.parametrize(("queries", "told"), [(1024, 1), ("all", 0)])
def test_a_search_on_a_sample_says_once_that_it_estimates(queries: int | str, told: int, tmp_path: Path) -> None:
    settings = settings_of(eval_queries=queries)
    study = create_study(Home(tmp_path), "flat", [load_space("guide_1_mse")], settings, "digits", "0" * 64)
    note = "<dd>val/mrr, best epoch; in the search an estimate from 1,024 validation rows</dd>"
    assert report_html(study).count(note) == report_html(study).count("an estimate") == told


def test_a_report_that_can_not_be_written_is_a_clear_error(reports: Reports) -> None:
    study, path = reports["empty"]
    with pytest.raises(UserError, match=r"--output .*/report.html: can not be written"):
        write_report(study, path / "report.html")
