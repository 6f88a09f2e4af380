"""What is public tells its types."""

import inspect

import pytest

import keras_derivs
from keras_derivs import plotting

PUBLIC = [
    (owner.__name__, name)
    for owner in (keras_derivs, plotting)
    for name in owner.__all__
    if not inspect.ismodule(getattr(owner, name))
]


@pytest.mark.parametrize(("owner", "name"), PUBLIC)
def test_every_parameter_and_result_has_a_type(owner, name):
    found = getattr(plotting if owner == plotting.__name__ else keras_derivs, name)
    function = found.__init__ if inspect.isclass(found) else found
    signature = inspect.signature(function)
    missing = [
        parameter.name
        for parameter in signature.parameters.values()
        if parameter.name != "self" and parameter.annotation is parameter.empty
    ]
    assert not missing and signature.return_annotation is not signature.empty, missing
