"""The part of a page that has a column for each of the other backends, each written on its own."""

import keras

NAMES = {"jax": "JAX", "torch": "PyTorch"}
BACKEND = NAMES.get(keras.backend.backend())  # `None` on TensorFlow


class Columns:
    """A table at the end of a page, below a heading; `beside` are the columns of all backends."""

    def __init__(self, page, heading, beside):
        self.page, self.heading, self.beside = page, heading, beside

    def cells(self):
        """{row: {backend: cell}}, as they stand in the page."""
        lines = [
            line.strip("| ").split(" | ") for line in self.text.splitlines() if line[:2] == "| "
        ]
        head = lines[0] if lines else []
        return {
            line[0]: {name: cell for name, cell in zip(head, line) if name in NAMES.values()}
            for line in lines[1:]
        }

    @property
    def text(self):
        """This part of the page."""
        heading, rest = self.page.read_text().partition(self.heading)[1:]
        return heading + rest

    def write(self, introduction, rows, found):
        """The table anew: `rows` are {row: its cells beside}, `found` what this backend says."""
        known = self.cells()
        for row, cell in found.items():
            known.setdefault(row, {})[BACKEND] = cell
        names = [name for name in NAMES.values() if any(name in row for row in known.values())]
        head = f"| {' | '.join([*self.beside, *names])} |\n{'|---' * (len(self.beside) + len(names))}|\n"
        lines = []
        for row, beside in rows.items():
            if row in known:
                lines.append([row, *beside, *(known[row].get(name, "") for name in names)])
        table = head + "".join(f"| {' | '.join(line)} |\n" for line in lines)
        before = self.page.read_text().partition(self.heading)[0].rstrip()
        self.page.write_text(f"{before}\n\n{self.heading}\n\n{introduction}\n{table}")
