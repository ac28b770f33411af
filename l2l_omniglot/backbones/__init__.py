"""Networks, their batch normalisation and their heads.

``registry`` backbones by name · ``basenet`` the tutorial's network · ``learn2learn_nets``
learn2learn's · ``batch_norm`` by which statistics images are normalised · ``heads`` the layer
that makes the logits
"""

BATCH_NORMS = ("transductive", "inductive")
EVALUATED = {name: (name,) for name in BATCH_NORMS} | {"both": BATCH_NORMS}
