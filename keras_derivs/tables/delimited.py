"""Tables of text: csv, with commas, semicolons or tabs."""

import csv
import io
import itertools

import numpy as np

from keras_derivs.tables.problem import Problem

ROWS, FIELDS = 2048, 2**18  # read at once


def table(path):
    """(names, how to read) of a csv file; without a line of names, columns are numbered."""
    with open(path, encoding="utf-8-sig", newline="") as file:
        line = file.readline()
        delimiter = max(",;\t", key=line.count)
        file.seek(0)
        first = next(csv.reader(file, delimiter=delimiter), [])
    if not first:
        raise Problem(f"{path}: it is empty")
    headed = not all(map(_is_number, first))
    names = [name.strip() for name in first] if headed else [f"[{n}]" for n in range(len(first))]
    repeated = [name for name in names if names.count(name) > 1]
    if repeated:
        raise Problem(f"{path}: two columns are called {repeated[0]!r}")
    return names, lambda columns: _read(path, delimiter, headed, names, columns)


def _is_number(text):
    try:
        float(text)
    except ValueError:
        return False
    return True


def _read(path, delimiter, headed, names, columns):
    size = path.stat().st_size
    with open(path, "rb") as raw:
        text = io.TextIOWrapper(raw, encoding="utf-8-sig", newline="")
        reader = csv.reader(text, delimiter=delimiter)
        if headed:
            next(reader)
        count = max(1, min(ROWS, FIELDS // len(names)))
        while rows := list(itertools.islice(reader, count)):
            yield _numbers(path, rows, names, columns, reader.line_num), raw.tell() / size


def _numbers(path, rows, names, columns, line):
    """The numbers of the chosen columns; empty lines are left out, empty fields are NaN."""
    end = line - len(rows) + 1
    numbered = [(end + n, row) for n, row in enumerate(rows) if row]
    for at, row in numbered:
        if len(row) != len(names):
            raise Problem(f"{path}: line {at} has {len(row)} fields instead of {len(names)}")
    fields = [[row[column].strip() or "nan" for column in columns] for _, row in numbered]
    try:
        return np.array(fields, dtype="U").astype("float64").reshape(-1, len(columns))
    except ValueError:
        at, column = next(
            (n, column)
            for n, row in numbered
            for column in columns
            if not _is_number(row[column].strip() or "nan")
        )
    value = dict(numbered)[at][column]
    raise Problem(f"{path}: line {at}, column {names[column]!r}: {value[:40]!r} is not a number")
