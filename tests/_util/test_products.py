from fractions import Fraction

import numpy as np

from l2l_omniglot._util.products import product


def test_only_the_first_product_and_the_sum_are_rounded():
    """Computed another way: exactly, by fractions."""
    generator = np.random.default_rng(0)
    one, other = generator.normal(size=(200, 2)), generator.normal(size=(2, 3))
    found = product(one, other)
    plain = one[:, :1] * other[:1] + one[:, 1:] * other[1:]
    for row, values in enumerate(one):
        for column, weights in enumerate(other.T):
            exact = Fraction(values[0] * weights[0]) + Fraction(values[1]) * Fraction(weights[1])
            assert found[row, column] == float(exact)
    assert (found != plain).any()
