"""fwfm-gpu inspect: what a file holds, in words and as JSON."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest

import fwfm_gpu
from fwfm_gpu import FieldEncoder
from fwfm_gpu.cli import main


@pytest.fixture
def model(path):
    rng = np.random.default_rng(0)
    table = {"city": [["Oslo", "Bergen"][c] for c in rng.integers(0, 2, 200)], "age": rng.integers(18, 90, 200)}
    y = np.where((table["age"] > 50) ^ (np.array(table["city"]) == "Oslo"), "yes", "no")
    rows = FieldEncoder(bins=4).fit_transform(table)
    held = {"validation_fraction": 0.2, "eval_metric": ["auc", "logloss"], "patience": 20}
    made = fwfm_gpu.train(rows, y, device="numpy", epochs=14, n_factors=3, progress=False, **held)
    made.save(path)
    return made


def test_as_json(model, path, capsys):
    assert main(["inspect", str(path), "--json", "--top", "3"]) == 0
    told = json.loads(capsys.readouterr().out)
    content = path.read_bytes()
    at = content.index(told["sha256"].encode())
    assert hashlib.sha256(content[:at] + content[at + 64 :]).hexdigest() == told["sha256"]
    assert told["bytes"] == len(content)
    p = model.parameters
    assert (told["features"], told["fields"], told["factors"]) == (p.n_features, p.n_fields, 3)
    assert (told["labels"], told["loss"], told["trains_on"]) == (["no", "yes"], "logistic", True)
    assert [field["name"] for field in told["encoder"]] == told["field_names"] == ["city", "age"]
    assert [record["loss"] for record in told["history"]] == [record.loss for record in model.history]
    assert told["options"]["n_factors"] == 3
    assert [pair["names"] for pair in told["top_interactions"]] == [
        list(pair.names) for pair in model.top_interactions(3)
    ]


def test_in_words(model, path, capsys):
    assert main(["inspect", str(path), "--top", "2"]) == 0
    printed = capsys.readouterr().out
    assert "labels 'no', 'yes'" in printed and "3 factors, float32" in printed
    assert "n_factors=3" in printed and "learning_rate" not in printed  # what is not the default
    assert str(fwfm_gpu.load(path, device="numpy").columns.encoder.report()) in printed
    assert "  <- the model" in printed and "auc" in printed and "  ..." in printed
    assert str(model.top_interactions(2)) in printed
    assert main(["inspect", str(path), "--top", "0"]) == 0
    assert "city=Oslo  " not in capsys.readouterr().out


def test_a_model_of_plain_rows(path, capsys):
    model = fwfm_gpu.train([[0, 1.0], [1, 0], [2, 1]], [0.5, 1.5, 2.5], device="numpy", epochs=1, progress=False)
    model.save(path, optimizer_state=False)
    assert main(["inspect", str(path)]) == 0
    printed = capsys.readouterr().out
    assert "loss       squared\n" in printed and "no: saved without its optimizer state" in printed
    assert main(["inspect", str(path), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["labels"], told["encoder"], told["field_names"]) == (None, None, None)


def test_a_damaged_file_is_refused(model, path, capsys):
    path.write_bytes(path.read_bytes()[:-1])
    assert main(["inspect", str(path)]) == 2
    out, err = capsys.readouterr()
    assert out == "" and str(path) in err
