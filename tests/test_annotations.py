"""What is public tells its types."""

import inspect

import pytest

import keras_derivs
from keras_derivs import plotting

METHODS = "build", "call", "compute_output_shape", "explain", "get_config", "from_config"
PUBLIC = [
    (owner.__name__, name)
    for owner in (keras_derivs, plotting)
    for name in owner.__all__
    if not inspect.ismodule(getattr(owner, name))
]


@pytest.mark.parametrize(("owner", "name"), PUBLIC)
def test_every_parameter_and_result_has_a_type(owner, name):
    found = getattr(plotting if owner == plotting.__name__ else keras_derivs, name)
    if not inspect.isclass(found):
        return check(found)
    check(found.__init__)
    for method in METHODS:
        check(getattr(found, method))


def check(function):
    signature = inspect.signature(function)
    missing = [
        parameter.name
        for parameter in signature.parameters.values()
        if parameter.name not in ("self", "cls") and parameter.annotation is parameter.empty
    ]
    assert not missing and signature.return_annotation is not signature.empty, missing
