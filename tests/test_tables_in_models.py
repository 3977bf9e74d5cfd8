"""A model that was trained on the rows of an encoder reads tables, also from its file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fwfm_gpu
from fwfm_gpu.errors import InputError, InputTypeError, ModelFileError
from fwfm_gpu.model_file import read_file, write_file

random = np.random.default_rng(0)
TABLE = {
    "city": np.where(
        random.random(400) < 0.5, "Łódź", np.array(["Oslo", "Rome", "", None], object)[np.arange(400) % 4]
    ),
    "age": random.integers(18, 90, 400).astype(float),
    "visits": random.integers(0, 7, 400),
    "member": random.random(400) < 0.3,
}
y = np.where((TABLE["age"] > 50) == TABLE["member"], "yes", "no")


@pytest.fixture(params=["bins", "both"])
def model(request):
    rows = fwfm_gpu.FieldEncoder(numeric_as=request.param, min_count=1).fit_transform(TABLE)
    return fwfm_gpu.train(rows, y, epochs=3, n_factors=3, batch_size=64, progress=False)


def test_a_table_scores_as_its_rows(model):
    rows = model.columns.encoder.transform(TABLE)
    np.testing.assert_array_equal(model.decision_function(TABLE), model.decision_function(rows))
    np.testing.assert_array_equal(model.predict_proba(TABLE), model.predict_proba(rows))


def test_the_file_holds_the_encoder(model, tmp_path):
    model.save(tmp_path / "model.fwfm")
    loaded = fwfm_gpu.load(tmp_path / "model.fwfm")
    np.testing.assert_array_equal(loaded.decision_function(TABLE), model.decision_function(TABLE))
    want, got = model.columns.encoder, loaded.columns.encoder
    assert got.get_feature_names_out().tolist() == want.get_feature_names_out().tolist()
    assert loaded.columns.field_names == ("city", "age", "visits", "member")
    loaded.save(tmp_path / "again.fwfm")
    assert (tmp_path / "again.fwfm").read_bytes() == (tmp_path / "model.fwfm").read_bytes()


def test_a_dict_needs_numpy_and_scipy_alone(model, tmp_path):
    model.save(tmp_path / "model.fwfm")
    program = (
        "import sys, fwfm_gpu\n"
        f"model = fwfm_gpu.load({str(tmp_path / 'model.fwfm')!r})\n"
        "p = model.predict_proba({'city': ['Oslo', None], 'age': [30.0, 70.0], 'visits': [1, 2], "
        "'member': [True, False]})\n"
        "print(p[:, 1].tolist())\n"
        "print({'narwhals', 'pyarrow', 'pandas', 'polars', 'sklearn', 'matplotlib'} & set(sys.modules))\n"
    )
    folder = Path(fwfm_gpu.__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, check=True)
    table = {"city": ["Oslo", None], "age": [30.0, 70.0], "visits": [1, 2], "member": [True, False]}
    assert done.stdout.splitlines() == [str(model.predict_proba(table)[:, 1].tolist()), "set()"]


@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow"])
def test_frames_score_as_dicts(model, library):
    for needed in ("narwhals", "pyarrow", library):
        module = pytest.importorskip(needed, reason=f"frames need {needed}: fwfm-gpu[data] and the frame's library")
    made = getattr(module, {"pandas": "DataFrame", "polars": "DataFrame", "pyarrow": "table"}[library])(TABLE)
    np.testing.assert_array_equal(model.decision_function(made), model.decision_function(TABLE))


def test_training_goes_on_with_a_table(model):
    rows = model.columns.encoder.transform(TABLE)
    whole = fwfm_gpu.train(rows, y, epochs=4, n_factors=3, batch_size=64, progress=False)
    model.continue_training(TABLE, y, epochs=1, eval_set=(TABLE, y), progress=False)
    np.testing.assert_array_equal(model.parameters.V, whole.parameters.V)
    assert model.partial_fit(TABLE, y) is model


def test_a_missing_column_is_named(model):
    with pytest.raises(InputError, match="must have every column that was fitted: 'age' not there"):
        model.predict({name: column for name, column in TABLE.items() if name != "age"})


def test_another_kind_of_values_is_named(model):
    with pytest.raises(InputTypeError, match="column 'age' held numbers"):
        model.predict({**TABLE, "age": np.full(400, "old")})


def test_a_column_without_values_is_named(model):
    with pytest.raises(InputError, match="column 'age' must hold values: all 400 rows miss it"):
        model.predict({**TABLE, "age": np.full(400, np.nan)})


def test_a_model_without_an_encoder_takes_no_table():
    plain = fwfm_gpu.train([[0.0, 1.0], [1.0, 0.0]], [0, 1], epochs=1, progress=False)
    with pytest.raises((InputError, InputTypeError)):
        plain.predict({"a": [1.0], "b": [2.0]})


@pytest.mark.parametrize("change", ["fields", "options", "format"])
def test_a_damaged_encoder_is_refused(model, tmp_path, change):
    path = tmp_path / "model.fwfm"
    model.save(path)
    arrays, document = read_file(path)
    del document["encoder"][change]
    write_file(path, arrays, document)
    with pytest.raises(ModelFileError, match="encoder"):
        fwfm_gpu.load(path)


def test_an_encoder_of_other_columns_is_refused(model, tmp_path):
    path = tmp_path / "model.fwfm"
    model.save(path)
    arrays, document = read_file(path)
    document["encoder"]["fields"] = document["encoder"]["fields"][:-1]
    write_file(path, arrays, document)
    with pytest.raises(ModelFileError, match="encoder"):
        fwfm_gpu.load(path)


def test_rows_of_another_encoder_are_refused():
    rows = fwfm_gpu.FieldEncoder(min_count=1).fit_transform({"city": ["Oslo", "Rome", "Bern"] * 4})
    model = fwfm_gpu.train(rows, [0, 1, 1] * 4, epochs=1, progress=False)
    other = fwfm_gpu.FieldEncoder(min_count=1).fit_transform({"city": ["Paris", "Oslo", "Rome"]})
    with pytest.raises(InputError, match=r"expected 'city=Bern' at feature_names\[0\], got 'city=Oslo'"):
        model.predict(other)
