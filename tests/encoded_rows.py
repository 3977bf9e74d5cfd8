"""Single rows through an encoder, to compare."""

from __future__ import annotations

from fwfm_gpu.errors import FwfmError


def answer(encode, row):
    """Features and values in float64, or the error that was raised."""
    try:
        features, values = encode(row)
    except FwfmError as error:
        return type(error), str(error)
    features = [int(feature) for feature in features]
    return features, [float(value).hex() for value in ([1.0] * len(features) if values is None else values)]


def by_table(encoder):
    """The encoder's own way: a table of one row."""

    def encode(row):
        rows = encoder.transform({name: [value] for name, value in row.items()})
        return rows.indices, None if rows.all_ones else rows.values

    return encode


def without_zeros(found):
    """What the encoder drops at once, an engine drops later."""
    if isinstance(found[0], type):
        return found
    kept = [(feature, value) for feature, value in zip(*found, strict=True) if value not in ("0x0.0p+0", "-0x0.0p+0")]
    return [feature for feature, _ in kept], [value for _, value in kept]
