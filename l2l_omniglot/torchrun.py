"""What torchrun says in the environment of the processes it starts; loads nothing else."""

import os


def launched() -> bool:
    """Whether torchrun, or something like it, started this process as one of several."""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


def local_place() -> tuple[int, int]:
    """This process's number among the workers on this machine, and how many they are."""
    return int(os.environ.get("LOCAL_RANK", "0")), int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def restarted() -> bool:
    """Whether torchrun started this process again after a worker had died."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0
