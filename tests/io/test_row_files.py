"""Files of rows for a model: its own columns, and what it does not know left out."""

from __future__ import annotations

import numpy as np
import pytest

from fwfm_gpu.errors import InputError
from fwfm_gpu.io import row_files
from fwfm_gpu.io.row_files import RowFormat, iterate_known_rows, read_known_rows, read_row_file


def put(path, text):
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("form", "train", "test", "wanted", "unknown"),
    [
        # feature 5 is new; feature 1 came under another field
        (
            RowFormat("libffm"),
            "1 0:0:1 1:2:1\n0 0:1:1 1:3:2\n",
            "1 0:1:4 1:5:1\n0 1:1:1 1:3:2\n",
            [[0, 4, 0, 0], [0, 0, 0, 2]],
            2,
        ),
        (
            RowFormat("libffm", shared_ids="split"),
            "1 0:7:1 1:7:2\n",
            "1 0:7:3 1:8:1\n0 2:7:1 1:7:5\n",
            [[3, 0], [0, 5]],
            2,
        ),
        (RowFormat("libsvm"), "1 1:1 3:1\n", "0 2:5 9:1\n1 1:2\n", [[0, 5, 0], [2, 0, 0]], 1),
        (RowFormat("libsvm", zero_based=True), "1 1:1 2:1\n", "0 0:5 9:1\n1 1:2\n", [[5, 0, 0], [0, 2, 0]], 1),
    ],
)
def test_the_columns_of_training(tmp_path, form, train, test, wanted, unknown):
    rows, y = read_row_file(put(tmp_path / "train", train), form)
    again, labels, none = read_known_rows(tmp_path / "train", form.form, rows)
    np.testing.assert_array_equal(again.to_csr().toarray(), rows.to_csr().toarray())
    np.testing.assert_array_equal(labels, y)
    assert none == 0
    found, _, left_out = read_known_rows(put(tmp_path / "test", test), form.form, rows)
    np.testing.assert_array_equal(found.to_csr().toarray(), wanted)
    assert left_out == unknown
    assert (found.n_fields, found.feature_names) == (rows.n_fields, rows.feature_names)
    np.testing.assert_array_equal(found.fields, rows.fields)


def test_parts_make_up_the_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(row_files, "ROWS_AT_ONCE", 3)
    text = "".join(f"{i % 2} 0:{i % 3}:1 1:{3 + i % 4}:{i}\n" for i in range(1, 11))
    rows, y = read_row_file(put(tmp_path / "train", text), RowFormat("libffm"))
    more = put(tmp_path / "more", text + "1 0:9:1\n")
    parts = list(iterate_known_rows(more, "libffm", rows))
    assert [part.n_rows for part, _, _ in parts] == [3, 3, 3, 2]
    dense = np.concatenate([part.to_csr().toarray() for part, _, _ in parts])
    np.testing.assert_array_equal(dense, np.concatenate([rows.to_csr().toarray(), np.zeros((1, rows.n_features))]))
    assert np.concatenate([labels for _, labels, _ in parts]).tolist() == [*y.tolist(), 1]
    assert sum(unknown for _, _, unknown in parts) == 1


def test_a_damaged_line_is_named(tmp_path):
    rows, _ = read_row_file(put(tmp_path / "train", "1 0:0:1\n"), RowFormat("libffm"))
    with pytest.raises(InputError, match="line 2, column 3"):
        read_known_rows(put(tmp_path / "test", "1 0:0:1\n1 zero:0:1\n"), "libffm", rows)
