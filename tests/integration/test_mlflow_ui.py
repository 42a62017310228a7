"""MLflow's own UI in a browser: the addresses that ``losstune ui`` names, and what its user sees there."""

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator

import pytest
from playwright.sync_api import Locator, Page, sync_playwright

from losstune.trainer.run.history import history_line, read_history
from losstune.trainer.run.layout import BEST_FILE, HISTORY_FILE
from losstune.tuning.confirm.results import confirmed_run
from losstune.tuning.study.study import Study
from losstune.tuning.study.trial import ranked
from losstune.tuning.track.mlflow_sync import Tracker
from tests.integration.servers import BIN
from tests.tuning.reported import confirmed, searched

MEASURED = "infonce-0000"
TAKEN = {"system/cpu_utilization_percentage": 98.7, "system/memory_usage_megabytes": 432.1}
"""What the epochs of a trial took, as a worker tells it."""
PATIENCE = 60_000
"""Milliseconds; a busy machine takes some seconds."""


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    root = tmp_path_factory.mktemp("root")
    study = confirmed(searched(root, (5, 4)), top=1, seeds=2)
    history = study.trials_folder / MEASURED / HISTORY_FILE
    history.write_text("".join(history_line(record | TAKEN) for record in read_history(history)))
    champion = confirmed_run(study, None)
    assert champion is not None
    (champion.folder / BEST_FILE).write_bytes(b"a checkpoint")  # none of torch's: it is registered as it is
    Tracker(study, f"sqlite:///{root}/mlflow.db").sync(None)
    return study


@pytest.fixture(scope="module")
def addresses(study: Study) -> Iterator[list[str]]:
    """Where the runs, the charts and the model are, as ``losstune ui`` says it."""
    command = [str(BIN / "losstune"), "ui", "--port", "0", "--storage", study.home.where]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    ) as process:
        assert process.stdout is not None
        said = ""
        for line in process.stdout:
            said += line
            if "startup complete" in line:
                break
        yield re.findall(r"http://\S+/#/\S+", said)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with (
        sync_playwright() as playwright,
        playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"]) as browser,
    ):
        page = browser.new_page(viewport={"width": 1600, "height": 1200})
        page.set_default_timeout(PATIENCE)
        yield page


def names(page: Page) -> list[str]:
    """The runs of the table, from its top."""
    links = page.locator(".ag-row a[href*='/runs/']")
    links.first.wait_for()
    at = links.evaluate_all("found => found.map(link => [link.getBoundingClientRect().top, link.innerText.trim()])")
    return [name for _, name in sorted(at)]


def link(page: Page, run: str) -> Locator:
    """A run's own, whatever else begins with its name."""
    return page.locator(".ag-row a[href*='/runs/']").filter(has_text=re.compile(rf"^\s*{run}\s*$")).first


def opened(page: Page, address: str, run: str) -> Page:
    """The page once it shows a run."""
    page.goto("about:blank")
    page.goto(address)
    link(page, run).wait_for()
    return page


def test_the_table_lists_the_trials_as_status_ranks_them(study: Study, addresses: list[str], page: Page) -> None:
    in_order = [trial.name for trial in ranked(trial for own in study.trials().values() for trial in own)]
    opened(page, addresses[0], in_order[0])
    assert names(page)[: len(in_order)] == in_order
    heads = page.locator(".ag-header").first.inner_text().split()
    assert {"best/mrr", "loss_fn", "lr", "losstune.state"} <= set(heads)
    assert "Which loss, with which settings" in page.inner_text("body")


def test_the_charts_open_on_the_best_trials(study: Study, addresses: list[str], page: Page) -> None:
    best = next(iter(ranked(trial for own in study.trials().values() for trial in own)))
    opened(page, addresses[1], best.name)
    page.get_by_placeholder("Search metric charts").wait_for()
    assert names(page)[0] == best.name
    chart = page.get_by_test_id("experiment-view-compare-runs-card").first
    chart.wait_for()
    assert chart.inner_text().split()[0] == "val/mrr"


def test_losses_and_the_confirmation_are_the_rows_above(study: Study, addresses: list[str], page: Page) -> None:
    """By time, as MLflow sorts of its own accord: trials are below their loss, which a click opens."""
    opened(page, addresses[0].partition("?")[0], "infonce")
    assert set(names(page)) == {"infonce", "cosine", "confirm"}
    row = page.locator(".ag-row").filter(has=page.locator("a", has_text=re.compile(r"^\s*infonce\s*$")))
    row.locator("[col-id='attributes.`Run Name`'] button").first.click()
    link(page, "infonce-0000").wait_for()
    assert set(names(page)) == {"infonce", "cosine", "confirm"} | {trial.name for trial in study.trials()["infonce"]}


def test_the_first_page_leads_to_the_model(addresses: list[str], page: Page) -> None:
    opened(page, addresses[0], "infonce-0000")
    assert page.locator("a[href='#/models/study']").inner_text() == "its model"
    page.goto("about:blank")
    page.goto(addresses[2])
    page.locator("text=@ champion").first.wait_for()
    assert "Confirmed: infonce, with the settings of infonce-0000" in page.inner_text("body")


def test_a_run_says_its_data_its_code_and_its_settings(addresses: list[str], page: Page) -> None:
    link(opened(page, addresses[0], "infonce-0000"), "infonce-0000").click()
    page.locator("text=About this run").wait_for()
    shown = page.inner_text("body")
    for words in ("digits (train)", "losstune: study study", "losstune.version.torch", "Parent run", "temperature"):
        assert words in shown, words


def test_what_a_trial_took_of_its_machine_is_under_system_metrics(addresses: list[str], page: Page) -> None:
    link(opened(page, addresses[0], MEASURED), MEASURED).click()
    page.get_by_role("tab", name="System metrics").click()
    for name in TAKEN:
        page.get_by_text(name.removeprefix("system/")).first.wait_for()
    assert "val/mrr" not in page.inner_text("main")
