"""Tables to read: a chunk of rows at a time, and nothing is unpickled."""

import math
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from keras_derivs.tables import delimited
from keras_derivs.tables.problem import Problem, reported

ROWS, NUMBERS = 8192, 2**22  # of a chunk, at most
STREAMED = {"pre_buffer": False, "buffer_size": 2**16}  # by default parquet is read as a whole
NUMERIC = "fiub"
SUFFIXES = (".csv", ".parquet", ".npy", ".npz")


@dataclass(frozen=True)
class Table:
    """Rows of numbers.

    `names` are those of the columns; `read(columns)` yields `(numbers, done)` with the share of
    the table that is read. `shape` is that of one row, where the file tells it.
    """

    path: Path
    names: list
    read: Any
    shape: tuple | None = None

    def chunks(self, columns):
        """Yield (first row, finite float64 numbers of these columns, share that is done)."""
        first = 0
        with reported(self.path):
            for numbers, done in self.read(columns):
                self._check(numbers, first, columns)
                yield first, numbers, done
                first += len(numbers)
        if not first:
            raise Problem(f"{self.path}: it has no rows")

    def _check(self, numbers, first, columns):
        wrong = np.argwhere(~np.isfinite(numbers))
        if len(wrong):
            row, column = wrong[0]
            value = numbers[row, column]
            words = "missing or NaN" if np.isnan(value) else "infinite"
            raise Problem(
                f"{self.path}: row {first + row}, column {self.names[columns[column]]!r} is {words}"
            )


def check_readable(path):
    """The path and the suffix of a file that is there, and may be a table."""
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise Problem(f"{path}: needs the suffix {', '.join(SUFFIXES)}")
    if not path.is_file():
        raise Problem(f"{path}: no such file")
    return path, suffix


def opened(path):
    """The `Table` in a csv, parquet, npy or npz file."""
    path, suffix = check_readable(path)
    openers = {".csv": delimited.table, ".parquet": _parquet, ".npy": _npy, ".npz": _npz}
    with reported(path):
        return Table(path, *openers[suffix](path))


def chunk(width):
    """How many rows of so many numbers are read at once."""
    return max(1, min(ROWS, NUMBERS // max(width, 1)))


def _parquet(path):
    parquet = arrow()
    with parquet.ParquetFile(path) as file:
        schema, total = file.schema_arrow, file.metadata.num_rows
    kinds = [str(kind) for kind in schema.types]

    def read(columns):
        for column in columns:
            if not kinds[column].startswith(("int", "uint", "float", "double", "half", "bool")):
                raise Problem(
                    f"{path}: column {schema.names[column]!r} is {kinds[column]}, no number"
                )
        names, done = [schema.names[column] for column in columns], 0
        with parquet.ParquetFile(path, **STREAMED) as file:
            chosen = {"batch_size": chunk(len(names)), "columns": list(dict.fromkeys(names))}
            for batch in file.iter_batches(**chosen):
                arrays = [batch.column(name).to_numpy(zero_copy_only=False) for name in names]
                done += len(batch)
                yield np.stack([array.astype("float64") for array in arrays], axis=1), done / total

    return list(schema.names), read


def arrow():
    """What reads and writes parquet."""
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise Problem("parquet needs pyarrow: pip install keras_derivs[tables]") from error
    return parquet


def _npy(path):
    array = np.load(path, mmap_mode="r", allow_pickle=False)
    shape = _row(array.shape, array.dtype, path)

    width = math.prod(shape)

    def read(columns):
        for start in range(0, len(array), chunk(width)):
            part = _rows(array, start, min(chunk(width), len(array) - start), width)
            yield part[:, columns].astype("float64"), (start + len(part)) / len(array)

    return entries("", shape), read, shape


def _rows(array, start, count, width):
    """Some rows of an array in a file, each flat; read, so that no more of it stays mapped."""
    if not array.flags.c_contiguous:
        return np.asarray(array[start : start + count]).reshape(count, width)
    at = array.offset + start * width * array.itemsize
    return np.fromfile(array.filename, array.dtype, count * width, offset=at).reshape(count, width)


def _row(shape, dtype, where):
    """The shape of one row of an array of numbers."""
    if dtype.kind not in NUMERIC or not shape:
        raise Problem(f"{where}: needs rows of numbers, not {dtype} of shape {shape}")
    return shape[1:]


def entries(name, shape):
    """A name for each entry of a row: its index in brackets."""
    if not shape and name:
        return [name]
    places = np.ndindex(shape) if shape else [(0,)]
    return [f"{name}[{','.join(map(str, place))}]" for place in places]


def _npz(path):
    with zipfile.ZipFile(path) as file:
        members = [name for name in file.namelist() if name.endswith(".npy")]
        headers = {name: _header(file, name) for name in members}
    used = {key: header for key, header in headers.items() if header[2].kind in NUMERIC}
    lengths = {header[0][0] if header[0] else 1 for header in used.values()}
    if not used or len(lengths) > 1:
        raise Problem(f"{path}: needs arrays of numbers with the same number of rows")
    names, places = [], []
    for key, (shape, _, dtype) in used.items():
        found = entries(key.removesuffix(".npy"), _row(shape, dtype, path))
        names += found
        places += [(key, entry) for entry in range(len(found))]

    def read(columns):
        return _members(path, used, [places[column] for column in columns], lengths.copy().pop())

    alone = len(used) == 1 and next(iter(used.values()))[0][1:]
    return names, read, alone or None


def _header(file, name):
    """(shape, whether it is in Fortran's order, dtype) of an array in a zip file."""
    with file.open(name) as member:
        return _read_header(member)


def _read_header(member):
    read = {1: np.lib.format.read_array_header_1_0, 2: np.lib.format.read_array_header_2_0}
    version, _ = np.lib.format.read_magic(member)
    if version not in read:
        raise ValueError(f"the version {version} of its format is not known")
    return read[version](member)


def _members(path, headers, places, total):
    """Yield the chosen entries of arrays in a zip file, read side by side."""
    keys = list(dict.fromkeys(key for key, _ in places))
    with zipfile.ZipFile(path) as file:
        members = {key: _stream(file, key, headers[key]) for key in keys}
        rows = chunk(sum(math.prod(headers[key][0][1:]) for key in keys))
        for start in range(0, total, rows):
            count = min(rows, total - start)
            parts = {key: member(count) for key, member in members.items()}
            columns = [parts[key][:, entry] for key, entry in places]
            yield np.stack(columns, axis=1).astype("float64"), (start + count) / total


def _stream(file, key, header):
    """A function that returns the next rows of an array in a zip file, each row flat."""
    shape, fortran, dtype = header
    if fortran and len(shape) > 1:  # its rows lie apart: read it whole
        rows = iter(np.lib.format.read_array(file.open(key), allow_pickle=False))
        return lambda count: np.stack([next(rows).ravel() for _ in range(count)])
    width, member = int(np.prod(shape[1:], dtype="int64")), file.open(key)
    _read_header(member)

    def rows(count):
        data = member.read(count * width * dtype.itemsize)
        return np.frombuffer(data, dtype).reshape(count, width)

    return rows
