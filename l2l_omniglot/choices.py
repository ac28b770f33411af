"""Names that core and settings share; loads nothing else."""

SCHEDULES = ("constant", "cosine")
ENGINES = ("auto", "learn2learn", "stacked")
INNER_RATES = ("fixed", "parameter", "layer-step")
ADAPTED = ("all", "head")
BATCH_NORMS = ("transductive", "inductive")
EVALUATED = {name: (name,) for name in BATCH_NORMS} | {"both": BATCH_NORMS}
DEVICES = ("auto", "cpu", "cuda", "mps")
