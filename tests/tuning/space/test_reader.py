"""Reading a search-space file: what is accepted, and what is said about what is not."""

from pathlib import Path

import pytest

from losstune.trainer.base.yaml_file import dump_yaml, parse_yaml
from losstune.tuning.space.reader import load_space, read_space, shipped_names
from losstune.tuning.space.search_space import Choices, Parameter, Range
from tests.trainer.samples import ALLOWED_LOSSES, refusal
from tests.tuning.samples import FILE, space_of

SCHEDULED = "schedule: {choices: [constant, cosine]}\n  warmup_epochs: {low: 0, high: 5, int: true, when: {%s}}"
WEIGHTED = "space:\n  cosine_weight: {low: 0.0, high: 1.0}\nderived:\n  "

ACCEPTED = {
    "only a loss": ("mse", "", ()),
    "empty sections": ("mse", "space:\nfixed:\nderived:\nstudy:\nstart:", ()),
    "float range": ("mse", "space: {lr: {low: 0.1, high: 1}}", (Parameter("lr", Range(0.1, 1)),)),
    "log range": (
        "mse",
        "space: {lr: {low: 1e-4, high: 1e-2, log: true}}",
        (Parameter("lr", Range(0.0001, 0.01, log=True)),),
    ),
    "stepped range": (
        "mse",
        "space: {model.dropout: {low: 0, high: 0.5, step: 0.1}}",
        (Parameter("model.dropout", Range(0, 0.5, step=0.1)),),
    ),
    "int range": (
        "mse",
        "space: {model.depth: {low: 0, high: 4, int: true, step: 2}}",
        (Parameter("model.depth", Range(0, 4, step=2, integer=True)),),
    ),
    "int log range": (
        "mse",
        "space: {batch_size: {low: 4, high: 512, int: true, log: true}}",
        (Parameter("batch_size", Range(4, 512, log=True, integer=True)),),
    ),
    "one value": ("mse", "space: {lr: {low: 0.1, high: 0.1}}", (Parameter("lr", Range(0.1, 0.1)),)),
    "text choices": (
        "mse",
        "space: {schedule: {choices: [constant, cosine]}}",
        (Parameter("schedule", Choices(("constant", "cosine"))),),
    ),
    "bool choices": (
        "mse",
        "space: {model.residual: {choices: [false, true]}}",
        (Parameter("model.residual", Choices((False, True))),),
    ),
    "null among choices": (
        "mse",
        "space: {clip_norm: {choices: [null, 1, 2.5]}}",
        (Parameter("clip_norm", Choices((None, 1, 2.5))),),
    ),
    "lists among choices": (
        "mse",
        "space:\n  matryoshka_dims: {choices: [null, [8, 16], '16, 32', 64]}\n"
        "  matryoshka_weights: {choices: [[1, 0.5], [1, 1]], when: {matryoshka_dims: ['8,16', [16, 32]]}}",
        (
            Parameter("matryoshka_dims", Choices((None, "8,16", "16,32", "64"))),
            Parameter("matryoshka_weights", Choices(("1,0.5", "1,1")), {"matryoshka_dims": ("8,16", "16,32")}),
        ),
    ),
    "the loss's own": (
        "infonce",
        "space: {temperature: {low: 0.001, high: 10}}",
        (Parameter("temperature", Range(0.001, 10)),),
    ),
    "smallest batches": ("mse", "space: {batch_size: {choices: [4]}}", (Parameter("batch_size", Choices((4,))),)),
    "infonce's smallest batch": (
        "infonce",
        "space: {batch_size: {low: 16, high: 64, int: true}}",
        (Parameter("batch_size", Range(16, 64, integer=True)),),
    ),
    "a condition": (
        "mse",
        "space:\n  " + SCHEDULED % "schedule: cosine",
        (
            Parameter("schedule", Choices(("constant", "cosine"))),
            Parameter("warmup_epochs", Range(0, 5, integer=True), {"schedule": ("cosine",)}),
        ),
    ),
    "a condition on several values": (
        "mse",
        "space:\n  model.depth: {low: 0, high: 3, int: true}\n"
        "  model.dropout: {low: 0, high: 0.5, when: {model.depth: [2, 3]}}",
        (
            Parameter("model.depth", Range(0, 3, integer=True)),
            Parameter("model.dropout", Range(0, 0.5), {"model.depth": (2, 3)}),
        ),
    ),
}

NAMES = "expected 1 to 40 letters, digits and _, which become part of folders and of metrics"
REFUSED = {
    "no loss": ("", "space: {}", f"{FILE}:1: loss_fn is missing: the loss that this space is for"),
    "unknown loss": ("quadruplet", "", f"{FILE}:1: loss_fn: found 'quadruplet'; allowed: " + ALLOWED_LOSSES),
    "list of losses": ("[mse]", "", f"{FILE}:1: loss_fn: found ['mse']; allowed: " + ALLOWED_LOSSES),
    "unknown section": (
        "mse",
        "spaces: {}",
        f"{FILE}:2: spaces: unknown section; allowed: loss_fn, name, start, space, derived, fixed, study",
    ),
    "a choice that is no list of prefixes": (
        "mse",
        "space:\n  matryoshka_dims: {choices: [[8, 0]]}",
        f"{FILE}:3: space → matryoshka_dims → choices → item 1: found '8,0'; "
        "should be different whole numbers of at least 1, 16 at most, as 32,64,128",
    ),
    "one list of prefixes twice": (
        "mse",
        "space:\n  matryoshka_dims: {choices: [[8, 16], '8,16']}",
        f"{FILE}:3: space → matryoshka_dims → choices: the choice '8,16' stands twice",
    ),
    "as many weights as some prefixes alone": (
        "mse",
        "space:\n  matryoshka_dims: {choices: [[8], [8, 16]]}\nfixed: {matryoshka_weights: [1, 2]}",
        f"{FILE}:2: space: at matryoshka_dims 8: "
        "matryoshka_weights: found 1,2; should be one for each of matryoshka_dims: 8",
    ),
    "weights of other prefixes under their condition": (
        "mse",
        "space:\n  matryoshka_dims: {choices: [[8], [8, 16]]}\n"
        "  matryoshka_weights: {choices: [[1, 2, 3]], when: {matryoshka_dims: '8,16'}}",
        f"{FILE}:2: space: at matryoshka_dims 8,16, matryoshka_weights 1,2,3: "
        "matryoshka_weights: found 1,2,3; should be one for each of matryoshka_dims: 8,16",
    ),
    "name that is a number": ("mse", "name: 3", f"{FILE}:2: name: found 3; {NAMES}"),
    "name that leads out": ("mse", "space: {}\nname: ../x", f"{FILE}:3: name: found '../x'; {NAMES}"),
    "name of a trial": ("mse", "name: mse-0001", f"{FILE}:2: name: found 'mse-0001'; {NAMES}"),
    "section that is a list": ("mse", "space: [lr]", f"{FILE}:2: space: found ['lr']; expected a mapping"),
    "misspelt name": (
        "mse",
        "space:\n  lr: {low: 0.1, high: 1}\n  bach_size: {choices: [16]}",
        f"{FILE}:4: space → bach_size: bach_size is not a setting; did you mean batch_size or batch_parts?",
    ),
    "misspelt nested name": (
        "mse",
        "space:\n  model.hidden: {choices: [8]}",
        f"{FILE}:3: space → model.hidden: model.hidden is not a setting; "
        "did you mean model.hidden_dim or model.depth or model.residual?",
    ),
    "misspelt fixed name": (
        "mse",
        "fixed:\n  model:\n    width: 1",
        f"{FILE}:4: fixed → model → width: model.width is not a setting; "
        "did you mean model.depth or model.dropout or model.residual?",
    ),
    "another loss's parameter": (
        "mse",
        "space:\n  temperature: {low: 0.1, high: 1}",
        f"{FILE}:3: space → temperature: temperature belongs to full_softmax, infonce, infonce_cosine, not to mse",
    ),
    "another loss's parameter fixed": (
        "infonce",
        "fixed:\n  mse_weight: 0.1",
        f"{FILE}:3: fixed → mse_weight: mse_weight belongs to cosine_mse, not to infonce",
    ),
    "epochs": (
        "mse",
        "space:\n  num_epochs: {choices: [10]}",
        f"{FILE}:3: space → num_epochs: can not stand here: the study sets it: study.max_epochs",
    ),
    "seed fixed": (
        "mse",
        "fixed:\n  seed: 1",
        f"{FILE}:3: fixed → seed: can not stand here: the study sets it: study.seed",
    ),
    "split seed derived": (
        "mse",
        "derived:\n  split_seed: 1 + 1",
        f"{FILE}:3: derived → split_seed: can not stand here: the study sets it: study.seed",
    ),
    "data": (
        "mse",
        "fixed:\n  data: digits",
        f"{FILE}:3: fixed → data: can not stand here: give it as --data",
    ),
    "loss as a parameter": (
        "mse",
        "space:\n  loss_fn: {choices: [mse]}",
        f"{FILE}:3: space → loss_fn: can not stand here: it stands at the top of the file",
    ),
    "high above the limit": (
        "mse",
        "space:\n  model.dropout:\n    low: 0.0\n    high: 1.0",
        f"{FILE}:5: space → model.dropout → high: found 1.0; should be less than or equal to 0.95",
    ),
    "low at an open limit": (
        "mse",
        "space:\n  lr: {low: 0, high: 1}",
        f"{FILE}:3: space → lr → low: found 0; should be greater than 0",
    ),
    "infinite high": (
        "mse",
        "space:\n  lr: {low: 0.1, high: .inf}",
        f"{FILE}:3: space → lr → high: found inf; should be a finite number",
    ),
    "low that is no number": (
        "mse",
        "space:\n  lr: {low: .nan, high: 0.1}",
        f"{FILE}:3: space → lr → low: found nan; should be a finite number",
    ),
    "fixed above the limit": (
        "mse",
        "fixed:\n  model:\n    dropout: 1.5",
        f"{FILE}:4: fixed → model → dropout: found 1.5; should be less than or equal to 0.95",
    ),
    "small batch among choices": (
        "infonce",
        "space:\n  batch_size: {choices: [32, 8]}",
        f"{FILE}:3: batch_size: found 8; infonce needs at least 16 (32 or more is recommended)",
    ),
    "small batch in a range": (
        "infonce",
        "space:\n  batch_size: {low: 8, high: 64, int: true}",
        f"{FILE}:3: batch_size: found 8; infonce needs at least 16 (32 or more is recommended)",
    ),
    "small batch fixed": (
        "infonce",
        "fixed:\n  batch_size: 15",
        f"{FILE}:3: batch_size: found 15; infonce needs at least 16 (32 or more is recommended)",
    ),
    "log from zero": (
        "mse",
        "space:\n  weight_decay: {low: 0, high: 1, log: true}",
        f"{FILE}:3: space → weight_decay → low: low is 0; a log range starts above 0",
    ),
    "low above high": (
        "mse",
        "space:\n  lr: {low: 0.1, high: 0.01}",
        f"{FILE}:3: space → lr: low 0.1 is more than high 0.01",
    ),
    "step and log": (
        "mse",
        "space:\n  lr: {low: 0.01, high: 0.1, step: 0.01, log: true}",
        f"{FILE}:3: space → lr: has log and step; a log range has no step",
    ),
    "step of zero": (
        "mse",
        "space:\n  lr: {low: 0.01, high: 0.1, step: 0}",
        f"{FILE}:3: space → lr → step: found 0; a step is a finite number above 0",
    ),
    "step that is no number": (
        "mse",
        "space:\n  lr: {low: 0.01, high: 0.1, step: .nan}",
        f"{FILE}:3: space → lr → step: found nan; a step is a finite number above 0",
    ),
    "infinite step": (
        "mse",
        "space:\n  lr: {low: 0.01, high: 0.1, step: .inf}",
        f"{FILE}:3: space → lr → step: found inf; a step is a finite number above 0",
    ),
    "steps without number": (
        "mse",
        "space:\n  lr: {low: 0.01, high: 0.1, step: 1e-300}",
        f"{FILE}:3: space → lr → step: found 1e-300; gives more than 100,000 values",
    ),
    "range without high": (
        "mse",
        "space:\n  lr: {low: 0.01}",
        f"{FILE}:3: space → lr: high is missing; a range is {{low, high}}, a list is {{choices}}",
    ),
    "words for numbers": (
        "mse",
        "space:\n  lr: {low: ten, high: 0.1}",
        f"{FILE}:3: space → lr → low: found 'ten'; expected a number",
    ),
    "a number for log": (
        "mse",
        "space:\n  lr: {low: 0.01, high: 0.1, log: 1}",
        f"{FILE}:3: space → lr → log: found 1; expected true or false",
    ),
    "unknown key of a range": (
        "mse",
        "space:\n  lr: {min: 0.01, max: 0.1}",
        f"{FILE}:3: space → lr → min: unknown key; allowed: choices, or low, high, log, step, int; and when",
    ),
    "a plain value": (
        "mse",
        "space:\n  lr: 0.01",
        f"{FILE}:3: space → lr: found 0.01; expected {{low, high}} or {{choices}}",
    ),
    "choices and log": (
        "mse",
        "space:\n  lr: {choices: [0.01], log: true}",
        f"{FILE}:3: space → lr: has choices and log; choices stand alone",
    ),
    "no choices": (
        "mse",
        "space:\n  lr: {choices: []}",
        f"{FILE}:3: space → lr → choices: found []; expected a list of values",
    ),
    "one choice without a list": (
        "mse",
        "space:\n  lr: {choices: 0.01}",
        f"{FILE}:3: space → lr → choices: found 0.01; expected a list of values",
    ),
    "a list among choices": (
        "mse",
        "space:\n  lr: {choices: [0.01, [0.1]]}",
        f"{FILE}:3: space → lr → choices: choice 2 is [0.1]; expected one value",
    ),
    "a choice twice": (
        "mse",
        "space:\n  lr: {choices: [0.01, 0.1, 1e-2]}",
        f"{FILE}:3: space → lr → choices: the choice 0.01 stands twice",
    ),
    "a choice twice in two types": (
        "mse",
        "space:\n  lr: {choices: [1, 1.0]}",
        f"{FILE}:3: space → lr → choices: the choice 1.0 stands twice",
    ),
    "float range for whole numbers": (
        "mse",
        "space:\n  batch_size: {low: 16, high: 64}",
        f"{FILE}:3: space → batch_size: takes whole numbers: add int: true, or list choices",
    ),
    "int range from a half": (
        "mse",
        "space:\n  batch_size: {low: 16.5, high: 64, int: true}",
        f"{FILE}:3: space → batch_size: low, high and step of an int range are whole numbers",
    ),
    "int range with half a step": (
        "mse",
        "space:\n  lr: {low: 1, high: 5, int: true, step: 0.5}",
        f"{FILE}:3: space → lr: low, high and step of an int range are whole numbers",
    ),
    "a float among whole choices": (
        "mse",
        "space:\n  batch_size: {choices: [16, 32.0]}",
        f"{FILE}:3: space → batch_size → choices → item 2: found 32.0; should be a valid integer",
    ),
    "yaml's no for text": (
        "mse",
        "space:\n  schedule: {choices: [no, cosine]}",
        f"{FILE}:3: space → schedule → choices → item 1: found 'no'; should be 'constant' or 'cosine'",
    ),
    "yaml's no for a flag": (
        "mse",
        "space:\n  model.residual: {choices: [no, yes]}",
        f"{FILE}:3: space → model.residual → choices → item 1: found 'no'; should be a valid boolean",
    ),
    "yaml's sixty minutes": (
        "mse",
        "fixed:\n  warmup_epochs: 1:30",
        f"{FILE}:3: fixed → warmup_epochs: found '1:30'; should be a valid integer",
    ),
    "a key twice": (
        "mse",
        "space:\n  lr: {low: 0.1, high: 1}\n  lr: {low: 0.2, high: 1}",
        f"{FILE}:4: the key 'lr' stands twice, first on line 3",
    ),
    "aliases": (
        "mse",
        "space:\n  lr: {low: &a 1, high: *a}",
        f"{FILE}:3: anchors and aliases (& and *) are not allowed",
    ),
    "condition on an unknown": (
        "mse",
        "space:\n  warmup_epochs: {low: 0, high: 5, int: true, when: {schedule: cosine}}",
        f"{FILE}:3: space → warmup_epochs → when → schedule: schedule is no parameter that stands above warmup_epochs",
    ),
    "condition on a later one": (
        "mse",
        "space:\n  warmup_epochs: {low: 0, high: 5, int: true, when: {schedule: cosine}}\n"
        "  schedule: {choices: [constant, cosine]}",
        f"{FILE}:3: space → warmup_epochs → when → schedule: schedule is no parameter that stands above warmup_epochs",
    ),
    "condition on itself": (
        "mse",
        "space:\n  warmup_epochs: {low: 0, high: 5, int: true, when: {warmup_epochs: 1}}",
        f"{FILE}:3: space → warmup_epochs → when → warmup_epochs: "
        "warmup_epochs is no parameter that stands above warmup_epochs",
    ),
    "condition that never holds": (
        "mse",
        "space:\n  " + SCHEDULED % "schedule: linear",
        f"{FILE}:4: space → warmup_epochs → when → schedule: schedule is never 'linear': constant | cosine",
    ),
    "condition that holds but for one value": (
        "mse",
        "space:\n  model.depth: {low: 0, high: 3, int: true}\n"
        "  model.dropout: {low: 0, high: 0.5, when: {model.depth: [1, 4]}}",
        f"{FILE}:4: space → model.dropout → when → model.depth: model.depth is never 4: whole numbers 0 … 3",
    ),
    "condition without a value": (
        "mse",
        "space:\n  " + SCHEDULED % "schedule: []",
        f"{FILE}:4: space → warmup_epochs → when → schedule: found []; expected a value or several",
    ),
    "condition that is text": (
        "mse",
        "space:\n  lr: {low: 0.1, high: 1, when: cosine}",
        f"{FILE}:3: space → lr → when: found 'cosine'; expected {{parameter: value}}",
    ),
    "derived by a call": (
        "cosine_mse",
        WEIGHTED + "mse_weight: max(cosine_weight, 1)",
        f"{FILE}:5: derived → mse_weight: found 'max(cosine_weight, 1)': 'max(cosine_weight, 1)' is not allowed; "
        "use numbers, parameter names, + - * / // and ()",
    ),
    "derived by nothing": (
        "cosine_mse",
        WEIGHTED + "mse_weight: 1 -",
        f"{FILE}:5: derived → mse_weight: found '1 -': not an arithmetic expression",
    ),
    "derived from an unknown": (
        "cosine_mse",
        WEIGHTED + "mse_weight: 1 - cosine_wait",
        f"{FILE}:5: derived → mse_weight: cosine_wait is neither a parameter nor fixed",
    ),
    "derived from an attribute": (
        "cosine_mse",
        WEIGHTED + "mse_weight: cosine_weight.__class__",
        f"{FILE}:5: derived → mse_weight: cosine_weight.__class__ is neither a parameter nor fixed",
    ),
    "derived from a conditional": (
        "cosine_mse",
        "space:\n  " + SCHEDULED % "schedule: cosine" + "\nderived:\n  mse_weight: 1 + warmup_epochs",
        f"{FILE}:6: derived → mse_weight: warmup_epochs is conditional",
    ),
    "derived from text": (
        "cosine_mse",
        "space:\n  schedule: {choices: [constant, cosine]}\nderived:\n  mse_weight: 1 + schedule",
        f"{FILE}:4: derived: at schedule constant: schedule is 'constant', not a number",
    ),
    "derived by zero": (
        "cosine_mse",
        WEIGHTED + "mse_weight: 1 / cosine_weight",
        f"{FILE}:4: derived: at cosine_weight 0.0: division by zero",
    ),
    "derived beyond its limit at a corner": (
        "cosine_mse",
        WEIGHTED + "mse_weight: 0.5 - cosine_weight",
        f"{FILE}:4: derived: at cosine_weight 1.0: mse_weight: found -0.5; should be greater than or equal to 0",
    ),
    "derived and fixed": (
        "cosine_mse",
        "fixed: {cosine_weight: 0.5}\nderived:\n  cosine_weight: 1 - 0.5",
        f"{FILE}:4: derived → cosine_weight: is fixed or searched too; a derived setting stands here only",
    ),
    "derived and searched": (
        "cosine_mse",
        WEIGHTED + "cosine_weight: 1 - 0.5",
        f"{FILE}:5: derived → cosine_weight: is fixed or searched too; a derived setting stands here only",
    ),
    "two weights of zero": (
        "cosine_mse",
        "space:\n  cosine_weight: {low: 0.0, high: 1.0}\n  mse_weight: {low: 0.0, high: 1.0}",
        f"{FILE}:2: space: at cosine_weight 0.0, mse_weight 0.0: "
        "cosine_weight and mse_weight are both 0: nothing would be trained",
    ),
    "fixed and searched": (
        "mse",
        "space:\n  lr: {low: 0.01, high: 0.1}\nfixed: {lr: 0.01}",
        f"{FILE}:3: space → lr: is in fixed too; a setting is searched or fixed",
    ),
    "fixed nested and searched flat": (
        "mse",
        "space:\n  model.depth: {choices: [1, 2]}\nfixed: {model: {depth: 1}}",
        f"{FILE}:3: space → model.depth: is in fixed too; a setting is searched or fixed",
    ),
    "start outside its range": (
        "mse",
        "start:\n  - {lr: 0.01}\n  - {lr: 0.5}\nspace:\n  lr: {low: 0.01, high: 0.1}",
        f"{FILE}:4: start → item 2 → lr: lr: 0.5 is outside 0.01 … 0.1",
    ),
    "start outside its choices": (
        "mse",
        "start:\n  - batch_size: 48\nspace:\n  batch_size: {choices: [16, 32]}",
        f"{FILE}:3: start → item 1 → batch_size: batch_size: 48 is outside 16 | 32",
    ),
    "start between two steps": (
        "mse",
        "start:\n  - model.dropout: 0.15\nspace:\n  model.dropout: {low: 0, high: 0.5, step: 0.1}",
        f"{FILE}:3: start → item 1 → model.dropout: model.dropout: 0.15 is outside 0 … 0.5, step 0.1",
    ),
    "start with what is not searched": (
        "mse",
        "start:\n  - {lr: 0.01, model: {depth: 1}}\nspace:\n  lr: {low: 0.01, high: 0.1}",
        f"{FILE}:3: start → item 1 → model.depth: model.depth is not searched; searched: lr",
    ),
    "start without a default inside": (
        "mse",
        "start:\n  - {}\nspace:\n  lr: {low: 0.01, high: 0.1}",
        f"{FILE}:3: start → item 1: lr is not given, and its default 0.001 is outside 0.01 … 0.1",
    ),
    "start against a condition": (
        "mse",
        "start:\n  - {schedule: constant, warmup_epochs: 3}\nspace:\n  " + SCHEDULED % "schedule: cosine",
        f"{FILE}:3: start → item 1 → warmup_epochs: warmup_epochs does not exist under its condition in this point",
    ),
    "start that is no list": (
        "mse",
        "start: {lr: 0.01}\nspace:\n  lr: {low: 0.01, high: 0.1}",
        f"{FILE}:2: start: found {{'lr': 0.01}}; expected a list of points",
    ),
    "unknown study setting": (
        "mse",
        "study: {epochs: 3}",
        f"{FILE}:2: study → epochs: unknown key; allowed: objective, max_epochs, grace_epochs, reduction_factor, "
        "sampler, seed, epochs_per_loss, trials, eval_queries, split_by, answers, race",
    ),
    "too few rows to score": (
        "mse",
        "study: {eval_queries: 500}",
        f"{FILE}:2: study → eval_queries: found 500; should be a whole number of at least 1000, or all",
    ),
    "study setting outside its limits": (
        "mse",
        "study:\n  max_epochs: 0",
        f"{FILE}:3: study → max_epochs: found 0; should be greater than or equal to 1",
    ),
    "unknown sampler": (
        "mse",
        "study: {sampler: cmaes}",
        f"{FILE}:2: study → sampler: found 'cmaes'; should be 'tpe', 'gp', 'random' or 'grid'",
    ),
    "half a seed": ("mse", "study: {seed: 1.5}", f"{FILE}:2: study → seed: found 1.5; should be a valid integer"),
}


@pytest.mark.parametrize(("loss_fn", "text", "parameters"), ACCEPTED.values(), ids=ACCEPTED)
def test_accepts(loss_fn: str, text: str, parameters: tuple[Parameter, ...]) -> None:
    space = space_of(f"loss_fn: {loss_fn}\n{text}")
    assert space.loss_fn == loss_fn
    assert space.parameters == parameters


@pytest.mark.parametrize(("loss_fn", "text", "message"), REFUSED.values(), ids=REFUSED)
def test_refuses(loss_fn: str, text: str, message: str) -> None:
    first = f"loss_fn: {loss_fn}\n" if loss_fn else ""
    assert refusal(space_of, first + text) == message


def test_a_name_like_no_other_gets_the_list_of_settings() -> None:
    message = refusal(space_of, "loss_fn: infonce\nspace: {xyzzy: {choices: [1]}}")
    assert message.startswith("space.yaml:2: space → xyzzy: xyzzy is not a setting; allowed: ")
    assert {"temperature,", "batch_size,", "model.hidden_dim,"} <= set(message.split())


def test_numbers_with_exponents_are_numbers() -> None:
    space = space_of("loss_fn: mse\nspace: {lr: {choices: [1e-3, 1.5e-3, 1]}}")
    assert space.parameters[0].domain == Choices((0.001, 0.0015, 1))


def test_a_space_is_named_by_its_own_name_or_else_by_its_loss() -> None:
    plain, wide = space_of("loss_fn: mse"), space_of("{loss_fn: mse, name: wide}")
    assert (plain.name, plain.loss_fn, plain.title) == ("mse", "mse", "mse")
    assert (wide.name, wide.loss_fn, wide.title) == ("wide", "mse", "wide (mse)")
    assert read_space(parse_yaml(dump_yaml(dict(wide.source)), FILE)) == wide
    assert space_of("{loss_fn: mse, name: mse}") == plain


def test_a_start_point_is_completed_by_defaults() -> None:
    space = space_of("""
        loss_fn: infonce
        start:
          - {}
          - {schedule: cosine, model: {depth: 3}}
        space:
          temperature: {low: 0.01, high: 1.0}
          batch_size: {choices: [16, 32]}
          lr: {low: 1e-4, high: 1e-2}
          schedule: {choices: [constant, cosine]}
          warmup_epochs: {low: 0, high: 5, int: true, when: {schedule: cosine}}
          model.depth: {choices: [1, 2, 3]}
    """)
    common = {"temperature": 0.07, "batch_size": 32, "lr": 0.0005}
    assert space.start == (
        {**common, "schedule": "constant", "model.depth": 2},
        {**common, "schedule": "cosine", "warmup_epochs": 0, "model.depth": 3},
    )


def test_prefixes_are_lists_in_fixed_settings_and_start_points_too() -> None:
    space = space_of("""
        loss_fn: mse
        start: [{matryoshka_dims: [8, 16]}, {matryoshka_dims: null}]
        space: {matryoshka_dims: {choices: [null, [8, 16]]}}
    """)
    assert space.start == ({"matryoshka_dims": "8,16"}, {"matryoshka_dims": None})
    assert space_of("loss_fn: mse\nfixed: {matryoshka_dims: [8, 16]}").fixed == {"matryoshka_dims": "8,16"}


def test_fixed_settings_may_be_nested_or_dotted() -> None:
    nested = space_of("loss_fn: mse\nfixed: {model: {depth: 0, dropout: 0.5}, clip_norm: null}")
    dotted = space_of("loss_fn: mse\nfixed: {model.depth: 0, model.dropout: 0.5, clip_norm: null}")
    assert nested.fixed == dotted.fixed == {"model.depth": 0, "model.dropout": 0.5, "clip_norm": None}


def test_a_derived_setting_may_use_parameters_and_fixed_values() -> None:
    space = space_of("""
        loss_fn: cosine_mse
        space: {cosine_weight: {low: 0.0, high: 1.0}}
        fixed: {model.depth: 2}
        derived: {mse_weight: (model.depth - 1) - cosine_weight, warmup_epochs: 3}
    """)
    assert space.settings({"cosine_weight": 0.25})["mse_weight"] == 0.75
    assert space.settings({"cosine_weight": 0.25})["warmup_epochs"] == 3


@pytest.mark.parametrize("text", [f"loss_fn: {loss}\n{text}" for loss, text, _ in ACCEPTED.values()], ids=ACCEPTED)
def test_the_source_reads_back_to_an_equal_space(text: str) -> None:
    space = space_of(text)
    assert read_space(parse_yaml(dump_yaml(dict(space.source)), FILE)) == space


@pytest.mark.parametrize("name", shipped_names())
def test_the_source_of_a_shipped_space_reads_back_to_an_equal_space(name: str) -> None:
    space = load_space(name)
    assert read_space(parse_yaml(dump_yaml(dict(space.source)), space.file)) == space


def test_a_path_is_read_as_a_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("loss_fn: mse\nspaces: {}\n")
    assert refusal(load_space, str(path)).startswith(f"{path}:2: spaces: unknown section")
    path.write_text("loss_fn: mse\n")
    assert load_space(str(path)).loss_fn == "mse"


def test_a_path_that_leads_nowhere(tmp_path: Path) -> None:
    missing = tmp_path / "mine.yaml"
    assert refusal(load_space, str(missing)) == f"{missing}: can not be read: No such file or directory"


def test_an_unknown_name_gets_the_shipped_ones() -> None:
    message = refusal(load_space, "inphonce")
    assert message.startswith("no search space 'inphonce': give the path of a YAML file, or one of cosine, cosine_mse")
