"""The model card of pretrained weights, in the form that Hugging Face's hub reads.

See https://huggingface.co/docs/hub/model-cards, and ``modelcard.md`` of its repository hub-docs for
the metadata: YAML between two lines of dashes, then Markdown.
"""

from __future__ import annotations

from itertools import groupby
from typing import Any

import yaml

from l2l_omniglot._util.text import NONE, counted, markdown, percent
from l2l_omniglot.experiments.card import Card, Result
from l2l_omniglot.experiments.protocols import PROTOCOLS, SETTINGS

LIBRARY = "l2l-omniglot"
METHODS = {
    "maml": "second-order MAML (Finn et al. 2017, arXiv:1703.03400)",
    "fomaml": "first-order MAML (Finn et al. 2017, arXiv:1703.03400)",
    "anil": "ANIL (Raghu et al. 2020, arXiv:1909.09157)",
    "meta-sgd": "Meta-SGD (Li et al. 2017, arXiv:1707.09835)",
    "maml++": "MAML++ (Antoniou et al. 2019, arXiv:1810.09502)",
    "reptile": "Reptile (Nichol et al. 2018, arXiv:1803.02999)",
    "imaml": "iMAML (Rajeswaran et al. 2019, arXiv:1909.04630)",
    "protonet": "prototypical networks (Snell et al. 2017, arXiv:1703.05175)",
}
LIMITS = f"""## Limits

The network has seen thin drawings of characters only, centred and of one size; the figures above
say nothing about other pictures. {LIBRARY} centres and scales pictures before it predicts.

Data: Omniglot (Lake et al. 2015, Human-level concept learning through probabilistic program
induction; MIT license). License of the weights: MIT. The protocols are described in
`docs/evaluation.md` of {LIBRARY}.
"""


def model_card(card: Card) -> str:
    """Returns the text of its ``README.md``."""
    parts = [_summary(card), _use(card), _accuracy(card), _training(card), LIMITS]
    head = yaml.safe_dump(metadata(card), sort_keys=False, allow_unicode=True, width=1000)
    return f"---\n{head}---\n\n" + "\n".join(parts)


def metadata(card: Card) -> dict[str, Any]:
    """Returns the metadata; accuracies in [0, 1]."""
    trained = card.trained
    tags = ["few-shot-learning", "meta-learning", trained.algorithm, trained.backbone, "omniglot"]
    entries = {
        "license": "mit",
        "library_name": LIBRARY,
        "pipeline_tag": "image-classification",
        "tags": [*tags, "pytorch"],
        "datasets": ["omniglot"],
        "metrics": ["accuracy"],
    }
    results = [_evaluation(result) for result in card.results]
    return entries | ({"model-index": [{"name": card.name, "results": results}]} if results else {})


def _evaluation(result: Result) -> dict[str, Any]:
    """Returns an entry of ``model-index``."""
    kept = "ways", "shots", "queries", "steps", "protocol", "batch_norm", "tasks"
    setting = f"{result.ways}-way {result.shots}-shot"
    figure = {"type": "accuracy", "value": round(result.accuracy, 5)}
    interval = f"accuracy, {result.batch_norm} batch norm (95 % interval ± {result.ci95:.5f})"
    return {
        "task": {"type": "image-classification", "name": f"{setting} classification"},
        "dataset": {
            "type": "omniglot",
            "name": f"Omniglot, {setting}, protocol {result.protocol}, split {result.split}",
            "split": "test",
            "args": {name: getattr(result, name) for name in kept},
        },
        "metrics": [{**figure, "name": interval}],
    }


def _summary(card: Card) -> str:
    trained = card.trained
    ways = "any number of" if trained.any_ways else str(trained.ways)
    return (
        f"# {card.name}\n\n"
        f"A small network that learns to tell handwritten characters apart from a few examples of "
        f"each: backbone `{trained.backbone}`, trained on Omniglot by {METHODS[trained.algorithm]} "
        f"with {LIBRARY}, for {ways} classes.\n"
    )


def _use(card: Card) -> str:
    ways, shots = (20, 1) if card.trained.any_ways else (card.trained.ways, card.trained.shots)
    return (
        f"## Use\n\n{LIBRARY} includes these weights under their name, and takes a copy of this "
        "folder as well:\n\n"
        f"```sh\n{LIBRARY} evaluate --weights {card.name} --ways {ways} --shots {shots}\n"
        f"{LIBRARY} predict SUPPORT QUERY --weights ./{card.name}\n```\n\n"
        "```python\nimport l2l_omniglot as lo\n\n"
        f'learner = lo.load_pretrained("{card.name}")\n'
        f'classifier = lo.FewShotClassifier("./{card.name}")  # as scikit-learn has them\n```\n\n'
        "Images have one channel of 28 by 28 pixels; ink is 1 and paper 0 if `ink` is `white` in "
        "`config.json`. The tensors of `model.safetensors` whose names start with `model/` are the "
        "backbone's.\n"
    )


def _accuracy(card: Card) -> str:
    lines = ["## Accuracy\n"]
    if not card.results:
        lines.append("Not measured yet.\n")
    for (protocol, split), results in groupby(card.results, lambda r: (r.protocol, r.split)):
        group = list(results)
        lines.append(
            f"Protocol `{protocol}`: {PROTOCOLS[protocol].about}; test classes of split `{split}`, "
            f"95 % intervals over tasks.\n"
        )
        lines.append(markdown(*_columns(group)))
        commands = dict.fromkeys(result.command(card.name) for result in group)
        lines.append("```sh\n" + "\n".join(commands) + "\n```\n")
    return "\n".join(lines)


def _columns(results: list[Result]) -> tuple[list[str], list[list[str]]]:
    """Returns header and rows: one row a mode of batch normalisation."""
    settings = [name for name in SETTINGS if any(name == result.setting for result in results)]
    settings += sorted({result.setting for result in results} - set(settings))
    cells = {(r.batch_norm, r.setting): percent(r.accuracy, r.ci95) for r in results}
    header = ["batch norm", *settings, "tasks", "measured"]
    rows = []
    for mode in dict.fromkeys(result.batch_norm for result in results):
        of_mode = [result for result in results if result.batch_norm == mode]
        tasks = ", ".join(f"{count:,}" for count in sorted({result.tasks for result in of_mode}))
        figures = [cells.get((mode, setting), NONE) for setting in settings]
        rows.append([mode, *figures, tasks, max(result.date for result in of_mode)])
    return header, rows


def _training(card: Card) -> str:
    trained = card.trained
    validation = ""
    if card.validation is not None:
        validation = (
            f" On {trained.validation_tasks} validation tasks, {trained.ways}-way "
            f"{trained.shots}-shot, the weights reached {percent(card.validation)} "
            f"({trained.validation_batch_norm} batch norm)."
        )
    return (
        f"## Training\n\n{counted(card.iteration, 'meta-update')} in {card.minutes:.0f} minutes on "
        f"{card.machine}; split `{trained.split}`, seed {trained.seed}.{validation} All settings "
        "are in `config.json`.\n\n```text\n" + "\n".join(card.commands) + "\n```\n"
    )
