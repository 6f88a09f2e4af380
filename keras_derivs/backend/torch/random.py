"""The numbers that PyTorch draws with its own generators, the same in every pass where asked.

Keras draws with seeds of its own, which a stateless scope holds, but for dropout without a seed.
"""

import contextlib
import threading

import torch
from torch.utils._python_dispatch import TorchDispatchMode

_local = threading.local()


def states():
    """Those of the generators of the processor and of all devices in use."""
    of_devices = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    return [torch.get_rng_state(), *of_devices]


def restore(before):
    of_processor, *of_devices = before
    torch.set_rng_state(of_processor)
    if of_devices:
        torch.cuda.set_rng_state_all(of_devices)


class _Drawing(TorchDispatchMode):
    """Notes what draws in this thread; others may use the same generators meanwhile."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if torch.Tag.nondeterministic_seeded not in function.tags:
            return function(*args, **(kwargs or {}))
        before = states()  # dropout of rate 0 draws nothing
        found = function(*args, **(kwargs or {}))
        _local.drawn = drawn() or not all(map(torch.equal, before, states()))
        return found


@contextlib.contextmanager
def held(seed=0):
    """Every pass inside draws the same numbers; none of them counts afterwards."""
    outer, before = getattr(_local, "start", None), states()
    torch.manual_seed(seed)
    _local.start, _local.drawn = states(), False
    try:
        with _Drawing():
            yield
    finally:
        _local.start = outer
        restore(before)


@contextlib.contextmanager
def drawing_again(start):
    """Draw from `start`; afterwards go on from where the generators are now."""
    before = states()
    restore(start)
    try:
        yield
    finally:
        restore(before)


def again():
    """A pass begins: draw from the start."""
    if getattr(_local, "start", None):
        restore(_local.start)
        _local.drawn = False


def drawn():
    """Whether numbers were drawn since the last start."""
    return bool(getattr(_local, "start", None)) and _local.drawn
