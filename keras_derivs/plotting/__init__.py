"""Pictures of derivatives; matplotlib, which `pip install keras_derivs[plots]` brings, is imported
where it is used.

Every function draws into the Axes `ax`, or into those of a new figure that pyplot does not know,
and returns them: `kd.plotting.profile(model, x).figure.savefig("profile.png")`. Names and units
are given once, as a list `["area", "rooms"]` or a dict `{"area": "m²", "rooms": ""}`.
"""

from keras_derivs.plotting.field import field
from keras_derivs.plotting.profile import profile
from keras_derivs.plotting.residual import residual
from keras_derivs.plotting.saliency import saliency
from keras_derivs.plotting.sensitivity import sensitivity
from keras_derivs.plotting.spectrum import spectrum

__all__ = ["field", "profile", "residual", "saliency", "sensitivity", "spectrum"]
