"""Few-shot classification of other images than tasks'."""
