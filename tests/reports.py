"""A model to report on, and a page taken apart."""

from __future__ import annotations

import re
from functools import cache
from html.parser import HTMLParser
from importlib import import_module

import numpy as np

import fwfm_gpu
from fwfm_gpu import FieldMatrix
from fwfm_gpu.report_html import VOID

DOOR = import_module("fwfm_gpu.report")
LOSSES = ("logistic", "softmax", "squared")
SECTIONS = ["learning", "predictions", "pairs", "interactions", "fields", "settings", "provenance"]
ROWS = 120
IDS = np.random.default_rng(0).integers(4, size=(ROWS, 4))
NAMES = ["age", "<script>alert(1)</script>", "$x$", "日本 & co"]
SCORE = np.where(IDS[:, 0] % 2 == IDS[:, 1] % 2, 1.5, -1.0) + 0.1 * IDS[:, 2]
Y = {
    "logistic": np.where(SCORE > 0, "_yes", "<no>"),
    "softmax": np.digitize(SCORE, [-0.9, 1.5, 1.7]),
    "squared": SCORE,
}


def rows(names=NAMES):
    return FieldMatrix.from_ids(IDS, [4] * 4, field_names=names)


@cache
def model_of(loss, **options):
    settings = {"n_factors": 3, "epochs": 4, "batch_size": 16, "validation_fraction": 0.25, "loss": loss}
    return fwfm_gpu.train(rows(), Y[loss], progress=False, **{**settings, **options})


class Page(HTMLParser):
    """A page, taken apart; fails on tags that do not balance."""

    def __init__(self, text):
        super().__init__()
        self.source, self.open, self.ids, self.tags, self.text = text, [], [], [], []
        self.attributes = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.handle_startendtag(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        attrs = dict(attrs)
        self.tags.append((tag, attrs))
        self.attributes += attrs.items()
        self.ids += [attrs["id"]] if "id" in attrs else []

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.text.append(data)

    def __contains__(self, text):
        return text in re.sub(r"\s+", " ", "".join(self.text))

    def all(self, tag, **wanted):
        return [attrs for name, attrs in self.tags if name == tag and wanted.items() <= attrs.items()]
