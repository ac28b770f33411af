"""MAML: adapting to tasks, training on them, evaluating on them.

- ``inner_rates``: which parameters the inner loop changes, and how far
- ``step_norms``: whether it changes batch normalisation's scale and shift
- ``rules``: how tasks make a meta-gradient: scores, MAML's
- ``by_steps``: MAML's, in the memory of one step
- ``reptile``: Reptile's
- ``imaml``: iMAML's
- ``learner``: a backbone that adapts to tasks
- ``engines``: how that is computed: the one inner loop, learn2learn's clones, stacked tasks
- ``chunks``: the tasks of a meta-batch in chunks, on all cores
- ``workers``: processes that share tasks out, under torchrun
- ``average``: the average of the weights over the updates
- ``trainer``: schedules, and one meta-update after the other
- ``evaluation``: many tasks, means and intervals
- ``baselines``: nearest neighbour on pixels, prototypes of embeddings
"""

SCHEDULES = ("constant", "cosine", "linear")
OPTIMISERS = ("adam", "sgd")
ENGINES = ("auto", "learn2learn", "stacked")
INNER_RATES = ("fixed", "parameter", "layer-step")
ADAPTED = ("all", "head")
# By name where their functions are: no torch is loaded here.
RULES = {
    "maml": f"{__name__}.rules:maml",
    "reptile": f"{__name__}.reptile:reptile",
    "imaml": f"{__name__}.imaml:imaml",
}
