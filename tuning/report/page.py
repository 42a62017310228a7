"""One file that tells what a study found: text and tables first, figures drawn by the page itself, no network."""

import base64
import hashlib
import json
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from plotly.offline import get_plotlyjs

from losstune.trainer.base.errors import UserError
from losstune.trainer.base.files import write_output
from losstune.tuning.confirm.findings import LABELS, Comparison
from losstune.tuning.confirm.sentences import answer_sentences, guide_sentence, pair_sentence
from losstune.tuning.confirm.smallest_words import smallest_sentence
from losstune.tuning.report.cost_figure import cost_figure
from losstune.tuning.report.facts import Facts
from losstune.tuning.report.figure_parts import Figure
from losstune.tuning.report.insights import MIN_TRIALS, fates, importance, learning_curve, search_curve
from losstune.tuning.report.loss_figures import (
    agreement_figure,
    difference_figure,
    interval_figure,
    learning_figure,
    search_figure,
)
from losstune.tuning.report.parameter_figures import importance_figure, slice_figure
from losstune.tuning.report.reproduce import own_spaces, steps
from losstune.tuning.report.rung_agreement import rung_verdict
from losstune.tuning.report.tables import (
    failures,
    fate_look,
    fate_names,
    fates_table,
    search_table,
    settings_table,
    stacked,
)
from losstune.tuning.show.comparison import geometry_table, scores_table, tuning_table
from losstune.tuning.show.cost_table import cost_table
from losstune.tuning.study.study import Study
from losstune.tuning.study.trial import ranked

SLICES = 3
"""Parameters of a loss whose values are shown trial by trial: those that decide most."""


def write_report(study: Study, output: Path) -> bytes:
    """Write the report of a study as one HTML file; returns what it holds.

    Raises:
        UserError: the study's files are damaged, or the file can not be written.
    """
    content = report_html(study).encode()
    try:
        write_output(output, content)
    except OSError as error:
        raise UserError(f"--output {output}: can not be written: {error.strerror}") from None
    return content


def report_html(study: Study) -> str:
    """The report of a study: of its newest finished confirmation, or of the search alone, and it says which."""
    facts = Facts.of(study)
    parts = resources.files("losstune.tuning.report")
    script = (parts / "report.js").read_text("utf-8")
    plotly = get_plotlyjs()
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string((parts / "report.html").read_text("utf-8"))
    figures = _figures(facts)
    return template.render(
        **_text(facts),
        stacked=stacked,
        figures=figures,
        figures_json=json.dumps(figures, allow_nan=False).replace("<", "\\u003c"),
        plotly=plotly,
        script=script,
        style=(parts / "report.css").read_text("utf-8"),
        script_hashes=[_csp_hash(plotly), _csp_hash(script)],
    )


def _text(facts: Facts) -> dict[str, Any]:
    """Words, tables and commands."""
    study, spec = facts.study, facts.study.spec
    ends = {loss: fates(own) for loss, own in facts.trials.items()}
    rungs = spec.settings.rungs
    return (_confirmed_text(facts.comparison) if facts.comparison else _unconfirmed_text(facts)) | {
        "spec": spec,
        "root": study.home.where,
        "at": study.home.options(),
        "styles": facts.styles,
        "losses": facts.titles,
        "comparison": facts.comparison,
        "plan": facts.plan,
        "settings": settings_table(study, facts.chosen, facts.plan),
        "ends": ends,
        "ends_table": fates_table(ends, facts.titles),
        "looks": {name: fate_look(name, fate_names(ends)) for name in fate_names(ends)},
        "failures": list(failures(facts.trials)),
        "dropped": [str(drop) for drop in study.dropped()],
        "verdict": rung_verdict(rungs[0], facts.search, facts.confirm) if rungs else "",
        "min_trials": MIN_TRIALS,
        "steps": steps(study, facts.plan),
        "own_spaces": own_spaces(study),
    }


def _confirmed_text(comparison: Comparison) -> dict[str, Any]:
    said, minor = answer_sentences(comparison), _minor_pairs(comparison)
    return {
        "answer": [text for text in said if text not in minor],
        "other_pairs": [text for text in said if text in minor],
        "guide": [guide_sentence(claim, comparison.objective) for claim in comparison.guide],
        "measures": [LABELS[measure] for measure in comparison.measures],
        "scores": scores_table(comparison, comparison.metrics),
        "tuning": tuning_table(comparison),
        "geometry": geometry_table(comparison),
        "costs": cost_table(comparison),
        "smallest": smallest_sentence(comparison),
    }


def _unconfirmed_text(facts: Facts) -> dict[str, Any]:
    return {
        "answer": [],
        "other_pairs": [],
        "guide": [],
        "measures": [],
        "scores": search_table(facts.trials, facts.objective, facts.titles),
        "tuning": None,
        "geometry": None,
        "costs": None,
        "smallest": [],
    }


def _minor_pairs(comparison: Comparison) -> set[str]:
    """The sentences on all pairs but the winner's on the objective: these stand beside the figure of differences."""
    return {
        pair_sentence(pair, comparison)
        for pair in comparison.pairs
        if pair.measure != comparison.measures[0] or comparison.winner not in (pair.first, pair.second)
    }


def _figures(facts: Facts) -> dict[str, Figure]:
    """Every figure by its id in the page; one without data is left out."""
    found: dict[str, Figure] = {}
    comparison, styles = facts.comparison, facts.styles
    if comparison is not None:
        for place, measure in enumerate(comparison.measures):
            found[f"scores-{place}"] = interval_figure(comparison, measure, styles)
            if pairs := [pair for pair in comparison.pairs if pair.measure == measure]:
                found[f"differences-{place}"] = difference_figure(pairs, styles)
    curves = {loss: curve for loss, own in facts.trials.items() if (curve := search_curve(own))}
    if curves:
        found["search"] = search_figure(curves, facts.levels(), facts.objective, styles)
    learned = {loss: learning_curve(facts.histories(loss), facts.objective) for loss in facts.chosen}
    learned = {loss: curve for loss, curve in learned.items() if curve.epochs}
    if learned:
        found["learning"] = learning_figure(learned, facts.levels(), facts.objective, styles)
    if costed := ranked(trial for own in facts.trials.values() for trial in own if trial.name in facts.sizes):
        chosen = {trial.name for trial in facts.chosen.values()}
        found["cost"] = cost_figure(costed, facts.sizes, chosen, styles, facts.objective)
    if facts.search or facts.confirm:
        found["rungs"] = agreement_figure(facts.search, facts.confirm)
    return found | _parameter_figures(facts)


def _parameter_figures(facts: Facts) -> dict[str, Figure]:
    found: dict[str, Figure] = {}
    for loss, space in facts.study.spec.search_spaces().items():
        decides = importance(space, facts.trials[loss])
        if decides is None:
            continue
        style = facts.styles[loss]
        found[f"importance-{loss}"] = importance_figure(decides, style)
        parameters = {parameter.name: parameter for parameter in space.parameters}
        for place, name in enumerate(list(decides.shares)[:SLICES]):
            slice_ = slice_figure(parameters[name], facts.trials[loss], style, facts.objective)
            found[f"slice-{loss}-{place}"] = slice_
    return found


def _csp_hash(script: str) -> str:
    """What a Content-Security-Policy knows an inline script by."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
