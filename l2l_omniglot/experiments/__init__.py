"""Runs: from settings to results that can be repeated.

- ``settings``: every setting, declared once; recipes
- ``experiment``: settings turned into data, splits, tasks, learner, trainer
- ``learners``: learners from settings or from trained weights
- ``checkpoint``: the file format of weights and optimiser state
- ``weights``: which weights are meant; cards of those that come along; how weights came about
- ``run_folder``: what a run keeps on disk
- ``training``: a run: validation, metrics, checkpoints, stops
- ``reproduce``: a comparison of trainings beside published figures
- ``tensorboard``: TensorBoard's event files
"""
