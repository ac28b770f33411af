"""The site's page of public names, which mkdocstrings fills in from their docstrings."""

from __future__ import annotations

# In the order in which data flows.
NAMES = (
    "prepare_stack",
    "open_data",
    "load_stack",
    "synthetic_stack",
    "ImageStack",
    "Splits",
    "make_splits",
    "Task",
    "Tasks",
    "BaseNet",
    "make_backbone",
    "list_backbones",
    "contract.check_backbone",
    "Learner",
    "Trainer",
    "meta.trainer.Schedule",
    "prepare_process",
    "keep_freed_memory",
    "evaluate",
    "Evaluation",
    "Settings",
    "make_settings",
    "Experiment",
    "load_pretrained",
    "experiments.weights.find_weights",
    "experiments.weights.load_pretrained_checkpoint",
    "experiments.run_folder.RunFolder",
    "experiments.metrics.MetricsRow",
    "experiments.training.TrainingRun",
    "experiments.training.Observer",
    "FewShotClassifier",
    "classify.classifier.Classifier",
    "data.picture_folders.read_support",
    "data.picture_folders.read_queries",
    "classify.predictor.predict",
    "classify.export.export_classifier",
    "classify.export.load_exported",
    "L2LOmniglotError",
)
INHERITING = ("Experiment",)
INTRO = """# Reference

The public names, in the order in which data flows. Names longer than `l2l_omniglot.NAME` are
imported from their module; they are public as well, and everything else may change. Every error
that the package raises on purpose is a `lo.L2LOmniglotError`.

"""


def page() -> str:
    """Returns the page as Markdown."""
    lines = []
    for name in NAMES:
        lines.append(f"::: l2l_omniglot.{name}\n")
        if name in INHERITING:
            lines.append("    options:\n      inherited_members: true\n")
    return INTRO + "".join(lines)
