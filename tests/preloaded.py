"""What the process that the tests' processes are forked from has loaded: see processes.py."""

import gc
import importlib
import pkgutil

import ipykernel.kernelapp
import matplotlib.backends.backend_agg
import matplotlib.backends.backend_svg
import matplotlib.figure
import matplotlib.pyplot
import processes
import torch
import torch._dynamo  # which torch's optimizers load as the first is made, for seconds

import l2l_omniglot
import l2l_omniglot._util.compat
from l2l_omniglot.data.synthetic import synthetic_stack

assert torch.get_num_threads() == 1  # a fork has none of the other threads, which it would wait for
for module in pkgutil.walk_packages(l2l_omniglot.__path__, "l2l_omniglot."):
    if not module.name.endswith("__main__"):  # which is what is run
        importlib.import_module(module.name)
synthetic_stack()  # kept: to draw it takes longer than most of the commands that use it
gc.collect()
gc.freeze()
__all__ = ["ipykernel", "matplotlib", "processes"]
