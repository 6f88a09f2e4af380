"""What is differentiated: the nodes of a Keras graph, the part between two tensors, slices."""

from keras_derivs.graph.naming import free, named, speaking_name
from keras_derivs.graph.nodes import depends, describe, is_derivative, needs, producer
from keras_derivs.graph.slices import shape_of_coordinate
from keras_derivs.graph.sub_graph import Coordinates, SubGraph, cut, nodes_of, used_elsewhere

__all__ = [
    "Coordinates",
    "SubGraph",
    "cut",
    "depends",
    "describe",
    "free",
    "is_derivative",
    "named",
    "needs",
    "nodes_of",
    "producer",
    "shape_of_coordinate",
    "speaking_name",
    "used_elsewhere",
]
