"""The peak memory of a call: how far the resident memory of this process rises during it.

Linux counts it, and is asked to count anew before the call, after free memory was given back to
it. Elsewhere, and where a device has memory of its own, it is not known.
"""

import ctypes
import pathlib

import keras

OF_PROCESS = pathlib.Path("/proc/self")


def peak(call):
    """The bytes by which a call raises the memory of the process at its peak, or `None`."""
    if not _on_processor() or not _counted_anew():
        call()
        return None
    before = _read("VmRSS")
    call()
    return max(0, _read("VmHWM") - before)


def _on_processor():
    try:
        return all(name.startswith("cpu") for name in keras.distribution.list_devices())
    except Exception:  # PyTorch has no such list in every version of Keras
        return keras.backend.backend() == "torch"


def _counted_anew():
    try:
        ctypes.CDLL(None).malloc_trim(0)
        (OF_PROCESS / "clear_refs").write_text("5")
        return True
    except (OSError, AttributeError):
        return False


def _read(name):
    lines = (OF_PROCESS / "status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) * 1024
