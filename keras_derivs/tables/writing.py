"""Tables to write, some rows at a time: beside the file that was asked for, then in its place."""

import csv
import os
import tempfile
import zipfile
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from keras_derivs.tables.problem import Problem
from keras_derivs.tables.reading import SUFFIXES, arrow


@contextmanager
def beside(path):
    """A new path in a folder beside, which takes the place of `path` unless an error comes."""
    path = check_place(path)
    try:
        folder = tempfile.TemporaryDirectory(prefix=".", dir=path.parent)
    except OSError as error:
        raise Problem(f"{path}: cannot be written: {error.strerror}") from error
    with folder as name:
        yield Path(name, path.name)
        os.replace(Path(name, path.name), path)


def check_place(path):
    """A path at which a file may be written: its folder is there."""
    path = Path(path)
    if path.is_dir() or not path.parent.is_dir():
        why = "it is a folder" if path.is_dir() else f"there is no folder {path.parent}"
        raise Problem(f"{path}: cannot be written, as {why}")
    return path


def results(path, names, shape, labels=None):
    """Rows of arrays of one shape, to `write` as a table (csv, parquet) or array (npy, npz).

    Args:
        path: The file to write to; its suffix chooses the format.
        names: A name for each entry of a row.
        shape: The shape of a row.
        labels: Arrays of strings that an npz file gets beside the numbers.
    """
    writers = {".csv": _Csv, ".parquet": _Parquet, ".npy": _Npy, ".npz": _Npz}
    return writers[check_suffix(path)](Path(path), list(names), tuple(shape), labels or {})


def check_suffix(path):
    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        raise Problem(f"{path}: needs the suffix {', '.join(SUFFIXES)}")
    if suffix == ".parquet":
        arrow()
    return suffix


class _Csv:
    def __init__(self, path, names, shape, labels):
        self.file = open(path, "w", newline="", encoding="utf-8")  # noqa: SIM115
        self.writer = csv.writer(self.file)
        self.writer.writerow(names)

    def write(self, rows):
        digits = 9 if rows.dtype == "float32" else 17
        flat = rows.reshape(len(rows), -1).tolist()
        self.writer.writerows([f"{value:.{digits}g}" for value in row] for row in flat)

    def close(self):
        self.file.close()


class _Parquet:
    def __init__(self, path, names, shape, labels):
        self.path, self.names, self.file = path, names, None

    def write(self, rows):
        import pyarrow

        columns = list(np.ascontiguousarray(rows.reshape(len(rows), -1).T))
        table = pyarrow.Table.from_arrays([pyarrow.array(c) for c in columns], names=self.names)
        if self.file is None:
            self.file = arrow().ParquetWriter(self.path, table.schema)
        self.file.write_table(table)

    def close(self):
        if self.file is not None:
            self.file.close()


class _Npy:
    """The number of rows is put into the header at the end: numpy leaves room for it."""

    def __init__(self, path, names, shape, labels):
        self.file, self.shape = open(path, "w+b"), shape  # noqa: SIM115
        self.dtype, self.count = None, 0

    def write(self, rows):
        if self.dtype is None:
            self.dtype = rows.dtype
            self._header()
        self.count += len(rows)
        self.file.write(np.ascontiguousarray(rows).tobytes())

    def _header(self):
        self.file.seek(0)
        description = np.lib.format.dtype_to_descr(self.dtype)
        header = {"descr": description, "fortran_order": False, "shape": (self.count, *self.shape)}
        np.lib.format.write_array_header_1_0(self.file, header)

    def close(self):
        if self.dtype is not None and not self.file.closed:
            self._header()
        self.file.close()


class _Npz:
    def __init__(self, path, names, shape, labels):
        self.path, self.labels, self.array = path, labels, Path(f"{path}.npy")
        self.writer = _Npy(self.array, names, shape, labels)
        self.write = self.writer.write

    def close(self):
        self.writer.close()
        try:
            with zipfile.ZipFile(self.path, "w", zipfile.ZIP_DEFLATED) as file:
                file.write(self.array, "derivatives.npy")
                for name, strings in self.labels.items():
                    with file.open(f"{name}.npy", "w") as member:
                        np.lib.format.write_array(member, np.asarray(strings), allow_pickle=False)
        finally:
            self.array.unlink(missing_ok=True)
