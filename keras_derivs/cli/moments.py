"""Mean and spread of rows that come one chunk after the other."""

import numpy as np


class Moments:
    """`mean` and `spread`, the standard deviation, of all rows so far.

    Chan, Golub and LeVeque, Updating formulae and a pairwise algorithm for computing sample
    variances, 1979.
    """

    def __init__(self):
        self.count, self.mean, self.squares = 0, 0.0, 0.0

    def add(self, rows):
        rows = np.asarray(rows, "float64")
        count, mean = len(rows), rows.mean(axis=0)
        total, shift = self.count + count, mean - self.mean
        self.squares += ((rows - mean) ** 2).sum(axis=0)
        self.squares += shift**2 * self.count * count / total
        self.mean = self.mean + shift * count / total
        self.count = total

    @property
    def spread(self):
        return np.sqrt(self.squares / self.count)
