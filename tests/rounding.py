"""How far apart two computations of the same numbers in float32 may be.

Another processor, number of threads, program or size of a batch adds the same products in another
order. The results then differ by roundings of the largest number among those added, however small
they are themselves. Wherever a test can, it computes in float64 instead, and compares tightly.
"""

import torch

# What our networks give differed by at most 43 between AVX-512, AVX2 and SSE4.1, and by 3 between
# batches of other sizes; a term forgotten or moments of another batch make thousands.
ROUNDINGS = 64


def rounding(*numbers: torch.Tensor | float) -> float:
    """The bound for what was computed from numbers as large as these."""
    largest = max(float(torch.as_tensor(each).abs().max()) for each in numbers)
    return ROUNDINGS * torch.finfo(torch.float32).eps * largest


PROBABILITY = rounding(60.0)  # of a softmax of logits up to 60, as those of our weights are
