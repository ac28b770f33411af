"""Networks, and what is asked of their batch normalisation and their head."""

BATCH_NORMS = ("transductive", "inductive")
EVALUATED = {name: (name,) for name in BATCH_NORMS} | {"both": BATCH_NORMS}
