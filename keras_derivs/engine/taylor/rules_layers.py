"""Rules of layers that a trace of their `call` does not show."""

import math

from keras import layers, ops

from keras_derivs import backend
from keras_derivs.engine.taylor.propagate import apply, call, call_layer
from keras_derivs.engine.taylor.rules import require_plain, taylor_rule, unsupported
from keras_derivs.engine.taylor.rules_bilinear import matmul, plus
from keras_derivs.engine.taylor.rules_formulas import composed
from keras_derivs.engine.taylor.rules_linear import apply_linear
from keras_derivs.graph import private
from keras_derivs.graph.private import activations, nn
from keras_derivs.graph.private import numpy as knp

REFUSING_SYMBOLS = {activations.mish: activations.Mish, activations.hard_silu: nn.HardSilu}


@taylor_rule(layers.Dense)
def dense(layer, x):
    if layer.quantization_mode is not None:
        raise unsupported(layer, "is quantized")
    y = matmul(knp.Matmul(name="matmul"), x, layer.kernel)
    y = y if layer.bias is None else y + layer.bias
    return activate(layer.activation, y)


def activate(activation, x):
    """An activation, which is a function or a layer; `None` for none."""
    if activation is None or getattr(activation, "__name__", "") == "linear":
        return x
    if isinstance(activation, layers.Layer):
        return apply(activation, x)
    if activation in REFUSING_SYMBOLS:
        return apply(REFUSING_SYMBOLS[activation](name=activation.__name__), x)
    return call(activation, x)


@taylor_rule(layers.Activation)
def activation_layer(layer, x):
    return activate(layer.activation, x)


@taylor_rule(layers.Conv1D, layers.Conv2D, layers.Conv3D)
def convolution(layer, x):
    """Keras refuses groups where tensors are symbolic."""
    if layer.groups == 1:
        return call_layer(layer, (x,), {})
    padding = layer.padding
    if padding == "causal":
        x = apply(knp.Pad(private.causal_padding(layer), name="pad"), x)
        padding = "valid"
    convolve = nn.Conv(layer.strides, padding, layer.data_format, layer.dilation_rate, name="conv")
    y = apply_linear(convolve, x, (layer.kernel,))
    if layer.bias is not None:
        shape = [1] * y.ndim
        shape[-1 if layer.data_format == "channels_last" else 1] = -1
        y = plus(y, ops.reshape(layer.bias, shape))
    return activate(layer.activation, y)


@composed(nn.DotProductAttention)
def dot_product_attention(operation, query, key, value, bias=None, mask=None, scale=None):
    """softmax(q k / sqrt(size) + bias) v, for tensors of (batch, length, heads, size)."""
    if operation.attn_logits_soft_cap is not None or query.shape[2] != key.shape[2]:
        raise unsupported(operation, "caps its logits or groups its heads")
    scores = ops.einsum("btnh,bsnh->bnts", query, key)
    root = backend.constant(math.sqrt(key.shape[-1]))
    scale = backend.constant(1 / root) if scale is None else scale
    scores = scores * ops.cast(scale, scores.dtype)
    scores = scores if bias is None else scores + ops.convert_to_tensor(bias, scores.dtype)
    weights = ops.softmax(_masked(scores, mask, operation.is_causal), axis=-1)
    return ops.einsum("bnts,bsnh->btnh", weights, value)


def _masked(scores, mask, causal):
    """Masked scores are lowered to where their softmax is zero."""
    if causal:
        length, width = scores.shape[-2:]
        seen = ops.reshape(ops.arange(length), (-1, 1)) >= ops.arange(width)
        mask = seen if mask is None else ops.logical_and(ops.cast(mask, "bool"), seen)
    if mask is None:
        return scores
    kept = ops.cast(ops.cast(mask, "bool"), scores.dtype)
    lowest = -0.5 * 10.0 ** (38 if scores.dtype != "float16" else 4)
    return scores * kept + (1 - kept) * lowest


@taylor_rule(layers.MultiHeadAttention)
def multi_head_attention(
    layer, query, value, key=None, attention_mask=None, use_causal_mask=False, **kwargs
):
    """The attention of projections; dropout does nothing in inference."""
    require_plain(layer, attention_mask)
    (of_query, of_key, of_value, of_output), scale, is_plain = private.attention_parts(layer)
    if any(v not in (None, False) for v in kwargs.values()) or not is_plain or query.ndim != 3:
        raise unsupported(layer, "is called, or made, in a way without a Taylor rule")
    key = value if key is None else key
    q, k = apply(of_query, query), apply(of_key, key)
    v = apply(of_value, value)
    mask = None if attention_mask is None else ops.expand_dims(attention_mask, -3)
    attend = nn.DotProductAttention(is_causal=use_causal_mask, name="attention")
    attended = apply(attend, q, k, v, mask=mask, scale=scale)
    return apply(of_output, attended)
