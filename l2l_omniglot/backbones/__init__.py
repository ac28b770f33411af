"""Networks, their batch normalisation and their head.

- ``registry``: backbones by entry point
- ``basenet``: the tutorial's network
- ``learn2learn_nets``: learn2learn's own networks
- ``conv4``: the network of prototypical networks
- ``resnet8``: a small residual network
- ``passes``: one forward pass, of which layers ask what to normalise by
- ``batch_norm``: by the batch at hand, the support set's statistics or the population's
- ``modes``: evaluation mode for a while
- ``heads``: the layer that makes the logits
- ``head_starts``: how each task starts it
"""

BATCH_NORMS = ("transductive", "inductive")
INDUCTIVE_STATISTICS = ("support", "population", "per-step")
STATISTICS = ("batch", *INDUCTIVE_STATISTICS)
MEASURED = ("population", "per-step")  # on training tasks
NORM_WEIGHTS = ("adapted", "per-step")
HEADS = ("trained", "shared", "zero", "prototypes")
EVALUATED = {name: (name,) for name in BATCH_NORMS} | {"both": BATCH_NORMS}
