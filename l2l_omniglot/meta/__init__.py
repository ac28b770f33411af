"""MAML: adapting to tasks, training, evaluating."""

SCHEDULES = ("constant", "cosine")
ENGINES = ("auto", "learn2learn", "stacked")
INNER_RATES = ("fixed", "parameter", "layer-step")
ADAPTED = ("all", "head")
