"""Passes over a source: chunks are encoded, joined, and cut into windows that are shuffled one by one (numerics 8)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np

from fwfm_gpu.backends import Backend
from fwfm_gpu.errors import InputError, OptionError
from fwfm_gpu.labels import class_weights, encode_targets, read_sample_weight, refuse_infinite
from fwfm_gpu.parameters import Array
from fwfm_gpu.passes import Part
from fwfm_gpu.problem import Settled, check_fits
from fwfm_gpu.row_parts import Piece, windows
from fwfm_gpu.stream_sources import Chunk, Source
from fwfm_gpu.stream_survey import Survey, located

__all__ = ["StreamPasses", "weigh_classes"]


class StreamPasses:
    """`passes.Passes` of a source: each part is a window."""

    def __init__(self, backend: Backend, source: Source, settled: Settled, survey: Survey) -> None:
        size = settled.options.batch_size
        self.backend, self.source, self.settled, self.survey = backend, source, settled, survey
        counts, weights = by_class(settled, survey)
        self.class_weight = weigh_classes(settled, survey.rows, counts)
        self.batch_size, self.window = size, -(-settled.options.shuffle_rows // size) * size
        self.batches = math.ceil(survey.rows / size)
        self.total_weight = survey.total_weight
        if self.class_weight is not None:
            self.total_weight = math.fsum(weights * self.class_weight)
        if not 0 < self.total_weight < math.inf:
            raise InputError(
                f"the weights of the {survey.rows} rows to train on must sum to a finite number above 0: got "
                f"{self.total_weight}. Scale the weights."
            )

    def parts(self, generator: np.random.Generator | None, first: int, stopped: Callable[[], bool]) -> Iterator[Part]:
        """One epoch from batch ``first`` on, a window at a time."""
        done = first * self.batch_size // self.window  # windows of which nothing is left
        begin, within = done * self.window, first * self.batch_size % self.window
        if generator is not None:
            for _ in range(done):
                generator.permutation(self.window)  # as when they were visited
        for window in windows(self.pieces(begin, stopped), self.window):
            if stopped():
                return
            order = np.arange(len(window)) if generator is None else generator.permutation(len(window))
            data = self.backend.load_data(window.rows, window.y, window.weight)
            part = data, order[within:]
            within = 0
            del window, data, order  # before the next window is made
            yield part
            del part

    def pieces(self, begin: int, stopped: Callable[[], bool]) -> Iterator[Piece]:
        """The rows from number ``begin`` on, encoded chunk by chunk."""
        end = begin
        for chunk in self.source.chunks(after=begin):
            if stopped():
                return
            end = max(end, chunk.start + len(chunk))
            if end > self.survey.rows:
                break
            if len(chunk) and chunk.start + len(chunk) > begin:
                with located(self.source, chunk):
                    piece = self.encode(chunk)
                yield piece.slice(max(0, begin - chunk.start), len(piece))
                del piece
        if end != self.survey.rows:
            raise InputError(
                f"{self.source.name}: expected the {self.survey.rows} rows of the first pass in every pass, got "
                f"{'more' if end > self.survey.rows else end}. Pass a source that starts anew and does not change."
            )

    def encode(self, chunk: Chunk) -> Piece:
        """A chunk as rows of T, targets and weights."""
        settled, dtype = self.settled, self.settled.options.dtype
        rows = chunk.encode(settled.columns, dtype)
        y, _ = encode_targets(chunk.y, settled.loss, settled.labels)
        check_fits("y", y, dtype)
        weight: Array | None = None
        if (chunk.weight is not None) != self.survey.weighted:
            raise InputError("all batches must have weights, or none: this one differs from the first pass.")
        if chunk.weight is not None:
            weight = read_sample_weight(chunk.weight, len(y))
        if self.class_weight is not None:
            with np.errstate(over="ignore"):  # refused just below
                weight = (np.ones(len(y)) if weight is None else weight) * self.class_weight[y.astype(np.intp)]
            refuse_infinite(weight, "sample_weight times class_weight")
        if weight is not None:
            check_fits("sample_weight times class_weight", weight, dtype)
        return Piece(rows, y, weight)


def by_class(settled: Settled, survey: Survey) -> tuple[Array, Array]:
    """Rows of each class and what they weigh, (C,) each: a model that goes on may know more labels than came."""
    if settled.labels is None:
        return np.zeros(0, np.int64), np.zeros(0)
    numbers = encode_targets(survey.labels, settled.loss, settled.labels)[0].astype(np.intp)
    counts, weights = np.zeros(len(settled.labels.classes), np.int64), np.zeros(len(settled.labels.classes))
    counts[numbers], weights[numbers] = survey.counts, survey.weights
    return counts, weights


def weigh_classes(settled: Settled, rows: int, counts: Array) -> Array | None:
    """The weight of each class (numerics 4), counted over all rows; None where none is asked for.

    Raises
    ------
    OptionError
        class_weight goes with classes alone.
    """
    asked, labels = settled.options.class_weight, settled.labels
    if asked is None:
        return None
    if labels is None:
        raise OptionError(f"class_weight needs classes, and loss='squared' has none: got {asked!r}. Drop it.")
    if isinstance(asked, str) and asked == "balanced":
        weights: Array = rows / (len(labels.classes) * np.maximum(counts, 1))
        return weights
    return class_weights(np.zeros(0), labels, asked)
