"""The number of rows of a batch, as far as shapes tell."""


def rows_of(inputs):
    """The number of rows, where shapes tell which axis is that of the batch; or `None`."""
    num_rows = inputs[0].shape[0]
    unclear = num_rows == 1 or any(num_rows in x.shape[1:] for x in inputs)
    return None if unclear else num_rows
