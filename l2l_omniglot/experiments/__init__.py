"""Runs: from settings to results that can be reproduced.

- ``declaration``: what is declared of a setting
- ``algorithms``: what makes up each published algorithm
- ``recipes``: named values that settings start from
- ``settings``: every setting, declared once
- ``readers``: data sets by name
- ``experiment``: data, splits, task streams, learner and trainer of a run
- ``protocols``: on which tasks the papers test
- ``learners``: a learner from settings, or from trained weights
- ``checkpoint``: weights and training state in a file
- ``certainty``: how sure predictions are
- ``card``: what pretrained weights are, and what they reach
- ``weights``: finds weights, pretrained or of a run
- ``run_folder``: the files of a run
- ``metrics``: the lines of a run's metrics.csv, and when there is a new one
- ``runs``: where runs are, and which is the newest
- ``training``: trains, validates, saves and resumes
- ``published``: what the papers have
- ``reproduce``: many runs, beside published figures
- ``search``: what a search tries of each setting
- ``storage``: where a search keeps its trials
- ``claims``: which process is at which part of shared work
- ``study``: a search that processes share; ``trials``: its trials
- ``tensorboard``: event files
"""

# By name where their functions are: no NumPy is loaded here.
READERS = {
    "omniglot": f"{__name__}.readers:read_omniglot",
    "synthetic": f"{__name__}.readers:read_synthetic",
}
