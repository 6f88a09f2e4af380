"""The gradient of projective transforms of images, by the images and by the transforms.

TensorFlow's is right for few transforms by the images, and `None` by the transforms. Between
pixels the bilinear interpolation has kinks: there, the slopes of both sides are averaged.
"""

import tensorflow as tf


def project(
    original, *, images, transforms, output_shape, fill_value, interpolation,
    fill_mode="CONSTANT", name=None,
):  # fmt: skip
    """`original`, with the gradient of a formula for it."""
    options = dict(interpolation=interpolation, fill_mode=fill_mode)
    images, transforms = tf.convert_to_tensor(images), tf.convert_to_tensor(transforms)
    fill_value = tf.cast(fill_value, "float32")

    @tf.custom_gradient
    def run(images, transforms, fill_value):
        arguments = images, transforms, fill_value

        def gradient(upstream):
            with tf.GradientTape() as tape:
                tape.watch(arguments)
                y = _formula(*arguments, tf.shape(upstream)[1:3], **options)
            return tape.gradient(y, arguments, upstream, unconnected_gradients="zero")

        y = original(
            images=images, transforms=transforms, fill_value=fill_value,
            output_shape=output_shape, **options,
        )  # fmt: skip
        return y, gradient

    return run(images, transforms, fill_value)


def _formula(images, transforms, fill_value, size, interpolation, fill_mode):
    fill = tf.cast(fill_value, images.dtype)
    coordinates, valid = _sources(transforms, size)
    batch, height, width = (tf.shape(images)[n] for n in range(3))
    y, x = (tf.broadcast_to(z, tf.concat([[batch], tf.shape(z)[1:]], 0)) for z in coordinates)
    map = _MAPS.get(fill_mode.upper())
    if map is not None:
        y, x = map(y, tf.cast(height, y.dtype)), map(x, tf.cast(width, x.dtype))
    if interpolation.upper() == "NEAREST":
        found = _read(images, _rounded(y), _rounded(x), fill)
    else:
        found = _bilinear(images, y, x, fill, inside=map is not None)
    return tf.where(valid[..., None], found, fill)


def _rounded(z):
    return tf.sign(z) * tf.floor(tf.abs(z) + 0.5)


def _sources(transforms, size):
    """Where in the input each output pixel is read, (T, height, width), and whether anywhere."""
    a0, a1, a2, b0, b1, b2, c0, c1 = tf.unstack(transforms[:, :, None, None], axis=1)
    rows = tf.cast(tf.range(size[0]), transforms.dtype)[:, None]
    columns = tf.cast(tf.range(size[1]), transforms.dtype)[None]
    depth = c0 * columns + c1 * rows + 1
    valid = tf.not_equal(depth, 0)
    depth = tf.where(valid, depth, tf.ones_like(depth))
    y, x = b0 * columns + b1 * rows + b2, a0 * columns + a1 * rows + a2
    return (y / depth, x / depth), valid


def _bilinear(images, y, x, fill, inside):
    """The mean of the interpolations from the pixels below and from those above."""
    parts = []
    for y0 in _first_pixels(y, tf.shape(images)[1], inside):
        for x0 in _first_pixels(x, tf.shape(images)[2], inside):
            v, u = (
                tf.cast(y - y0, images.dtype)[..., None],
                tf.cast(x - x0, images.dtype)[..., None],
            )
            top, bottom = (
                (1 - u) * _read(images, row, x0, fill) + u * _read(images, row, x0 + 1, fill)
                for row in (y0, y0 + 1)
            )
            parts.append((1 - v) * top + v * bottom)
    return tf.add_n(parts) / 4


def _first_pixels(z, length, inside):
    """The pixel before each coordinate, from either side; both it and the next one `inside`."""
    found = tf.floor(z), tf.math.ceil(z) - 1
    if not inside:
        return found
    last = tf.maximum(tf.cast(length, z.dtype) - 2, 0)
    return [tf.clip_by_value(first, 0, last) for first in found]


def _read(images, y, x, fill):
    """The pixels at whole coordinates, and `fill` outside of the images."""
    height, width = (tf.cast(tf.shape(images)[n], y.dtype) for n in (1, 2))
    inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
    index = [tf.cast(tf.where(inside, z, tf.zeros_like(z)), tf.int32) for z in (y, x)]
    found = tf.gather_nd(images, tf.stack(index, axis=-1), batch_dims=1)
    return tf.where(inside[..., None], found, fill)


def _nearest(z, length):
    return tf.clip_by_value(z, tf.zeros_like(length), length - 1)


def _reflect(z, length):
    """abcd continued as dcba|abcd|dcba, as TensorFlow's kernel computes it."""
    period = 2 * length
    below = period * tf.floor(-z / period) + z
    below = tf.where(below < -length, below + period, -below - 1)
    above = z - period * tf.floor(z / period)
    above = tf.where(above >= length, period - above - 1, above)
    return _beyond(z, length, below, above)


def _wrap(z, length):
    """abcd continued as abcd|abcd|abcd, as TensorFlow's kernel computes it."""
    last = tf.maximum(length - 1, 1)
    below = z + length * (tf.floor(-z / last) + 1)
    above = z - length * tf.floor(z / last)
    return _beyond(z, length, below, above)


def _beyond(z, length, below, above):
    z = tf.where(z < 0, below, tf.where(z > length - 1, above, z))
    return _nearest(z, length)


_MAPS = {"NEAREST": _nearest, "REFLECT": _reflect, "WRAP": _wrap}
