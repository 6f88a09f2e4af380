"""A place for a file that is not known to be good yet."""

import contextlib
import os
import pathlib
import shutil
import tempfile


@contextlib.contextmanager
def beside(path):
    """A path in a folder of its own beside; what is written there moves to `path` at the end."""
    folder = _folder(path)
    try:
        yield folder / path.name
        _move(folder, path)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _folder(path):
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return pathlib.Path(tempfile.mkdtemp(prefix=".export-", dir=path.parent))
    except OSError as error:
        raise type(error)(
            f"`path=` needs a folder that can be written to. Received: '{path}' "
            f"({error.strerror}). Choose another."
        ) from error


def keep_others(path, folder):
    """Copy into a folder that will replace the one at `path` what stands there, and not in it."""
    for item in path.iterdir() if path.is_dir() and folder.is_dir() else ():
        if not (folder / item.name).exists():
            copy = shutil.copytree if item.is_dir() else shutil.copy2
            copy(item, folder / item.name)


def clear(path):
    """Remove what an earlier trial left."""
    for item in path.parent.iterdir():
        shutil.rmtree(item) if item.is_dir() else item.unlink()


def _move(folder, path):
    """Put what was written at its place; the old comes back if that fails."""
    names = sorted((item.name for item in folder.iterdir()), key=lambda name: name == path.name)
    old = pathlib.Path(tempfile.mkdtemp(prefix=".replaced-", dir=path.parent))
    try:
        for name in names:
            target = path.parent / name
            if target.exists():
                os.replace(target, old / name)
            os.replace(folder / name, target)
    except OSError:
        for item in old.iterdir():
            target = path.parent / item.name
            if target.is_dir():
                shutil.rmtree(target)
            os.replace(item, target)
        raise
    finally:
        shutil.rmtree(old, ignore_errors=True)
