"""MAML: adapting to tasks, meta-training, evaluation.

- ``learner``: a backbone that adapts to tasks: scores and meta-gradients
- ``inner_rates``: what the inner loop adapts, and how far
- ``trainer``: meta-updates by a schedule
- ``evaluation``: accuracy over many tasks, with confidence intervals
- ``baselines``: nearest neighbour and prototypes
- ``chunks``: tasks in chunks, on all cores
- ``workers``: processes that share tasks
- ``engines``: compute the inner loop; ``fast_weights``, ``learn2learn_engine``, ``stacked``,
  ``layers``, ``convolution``, ``pooling``, ``seen``
"""

SCHEDULES = ("constant", "cosine")
ENGINES = ("auto", "learn2learn", "stacked")
INNER_RATES = ("fixed", "parameter", "layer-step")
ADAPTED = ("all", "head")
