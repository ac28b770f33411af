"""Words for numbers."""


def counted(number: int, what: str) -> str:
    """A number and what it counts: 1 step, 5 steps."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"
