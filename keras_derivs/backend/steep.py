"""The slope of a power between 0 and 1 at zero, in the gradient of a weight.

It is infinite there. But where the zero is a weight times a coordinate, as at t = 0, the derivative
by the weight exists: it is this slope times zero.
"""

STEEP = 1e18  # finite in single precision, with room for products
