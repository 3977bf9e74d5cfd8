"""Rows that lie on a device: the bits of the same rows from the host, no copy where none is needed, the same errors."""

from __future__ import annotations

import numpy as np
import pytest
from cuda_host.device import host_backend
from cuda_host.fakes import CudaArray, CupyxMatrix, DlpackArray, FakeArray, TorchCsr
from cuda_host.loader import compiler
from scipy import sparse

import fwfm_gpu
from fwfm_gpu.backends import get_backend
from fwfm_gpu.backends.cuda_adoption import place_rows
from fwfm_gpu.errors import FwfmError, InputTypeError
from fwfm_gpu.field_matrix import FieldMatrix

ROWS, FIELDS = 90, np.array([0, 0, 1, 1, 2, 2, 2])
N = len(FIELDS)
OPTIONS = {"n_factors": 3, "epochs": 2, "batch_size": 32, "progress": False}
KINDS = [CudaArray, DlpackArray]


def make_dense(seed: int = 0) -> np.ndarray:
    """Numbers in about half of the places; some become subnormal, some 0 in float32."""
    generator = np.random.default_rng(seed)
    X = generator.normal(size=(ROWS, N)) * generator.choice([1, 1, 1, 1e-40, 1e-60], (ROWS, N))
    return np.where(generator.random((ROWS, N)) < 0.5, X, 0)


def make_csr(dtype="float32", index="int32") -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """indptr, indices, values: canonical."""
    rows = FieldMatrix.from_matrix(make_dense().astype(dtype))
    return rows.indptr.astype(index), rows.indices.astype(index), np.array(rows.values, dtype)


def make_messy(seed: int = 0, zeros: bool = True) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Columns in any order, some twice; zeros of both signs."""
    generator = np.random.default_rng(seed)
    lengths = generator.integers(0, 9, ROWS)
    nnz = int(lengths.sum())
    values = generator.choice([1.5, -2.25, 1e-41, 1 / 3, *([0.0, -0.0] if zeros else [])], nnz)
    return np.append(0, np.cumsum(lengths)), generator.integers(0, N, nnz), values


TARGETS = np.random.default_rng(1).integers(0, 2, ROWS)
WEIGHTS = np.random.default_rng(2).random(ROWS)
IDS = np.random.default_rng(3).integers(0, [3, 4, 5], (ROWS, 3))


def from_csr(wrap, arrays) -> FieldMatrix:
    return FieldMatrix.from_csr(*(None if a is None else wrap(a) for a in arrays), (ROWS, N), FIELDS)


def from_matrix(wrap, X) -> FieldMatrix:
    return FieldMatrix.from_matrix(wrap(X), FIELDS)


def from_ids(wrap, ids) -> FieldMatrix:
    return FieldMatrix.from_ids(wrap(ids), [3, 4, 5])


ones = (*make_csr()[:2], None)
with_zeros = (*make_csr()[:2], np.where(np.arange(len(ones[1])) % 3, make_csr()[2], -0.0).astype("float32"))
INPUTS = {
    "canonical": (from_csr, make_csr()),
    "int64": (from_csr, make_csr(index="int64")),
    "uint16": (from_csr, make_csr(index="uint16")),
    "float64": (from_csr, make_csr("float64")),
    "integers": (from_csr, (*make_csr()[:2], np.arange(1, 1 + len(ones[1])))),
    "halves": (from_csr, (*make_csr()[:2], np.arange(1, 1 + len(ones[1])).astype("float16"))),
    "ones": (from_csr, ones),
    "stored ones": (from_csr, (*ones[:2], np.ones(len(ones[1])))),
    "zeros": (from_csr, with_zeros),
    "messy": (from_csr, make_messy()),
    "duplicates": (from_csr, tuple(array * 2 if i == 0 else np.repeat(array, 2) for i, array in enumerate(make_csr()))),
    "messy ones": (from_csr, (*make_messy()[:2], None)),
    "no values": (from_csr, (np.zeros(ROWS + 1, int), np.zeros(0, int), np.zeros(0))),
    "strided": (from_csr, tuple(np.repeat(array, 2)[::2] for array in make_csr())),
    "dense": (from_matrix, make_dense()),
    "dense float32": (from_matrix, make_dense().astype("float32")),
    "dense columns": (from_matrix, np.asfortranarray(make_dense())),
    "dense booleans": (from_matrix, make_dense() > 0),
    "full": (from_matrix, np.random.default_rng(4).normal(size=(ROWS, N))),
    "ids": (from_ids, IDS),
    "short ids": (from_ids, IDS.astype("uint8")),
}


@pytest.fixture
def engine(monkeypatch):
    """The CUDA engine on the host, which every door gets; "numpy" stays what it is."""
    if compiler() is None:
        pytest.skip("g++ is missing: the CUDA engine's kernels cannot be compiled for the host")
    backend = host_backend(seed=17)

    def get(device, *given):
        return get_backend(device) if device == "numpy" else backend

    for module in ("training", "model"):
        monkeypatch.setattr(f"fwfm_gpu.{module}.get_backend", get)
    return backend


def identity(array):
    return array


def unwrap(array):
    """What is inside of a device array; the host's own is refused."""
    assert isinstance(array, FakeArray) or type(array) is np.ndarray
    return array.inside if isinstance(array, FakeArray) else array


def both(name: str, wrap=CudaArray) -> tuple[FieldMatrix, FieldMatrix]:
    """The input on the host and on the device."""
    make, arrays = INPUTS[name]
    return make(identity, arrays), make(wrap, arrays)


def assert_same_model(got, want) -> None:
    for name, array in want.parameters.arrays().items():
        assert got.parameters.arrays()[name].tobytes() == array.tobytes(), name
    assert [record.metrics for record in got.history] == [record.metrics for record in want.history]
    assert got.trained.data_fingerprint == want.trained.data_fingerprint


def compare_rows(device, host, there) -> None:
    """The rows, and some of them, as they are on the device and on the host."""
    for chosen in (slice(None), np.array([5, 2, 2, 80, 1]), slice(0, 0)):
        wanted = host.take(chosen)
        with device.current():
            placed = place_rows(device, there.take(chosen))
            indptr, indices = device.to_host(placed.indptr), device.to_host(placed.indices)
            values = np.ones(len(indices), placed.real) if placed.values is None else device.to_host(placed.values)
        np.testing.assert_array_equal(placed.starts, wanted.indptr)
        np.testing.assert_array_equal(indptr, wanted.indptr)
        np.testing.assert_array_equal(indices, wanted.indices)
        assert placed.real == values.dtype == wanted.values.dtype
        assert values.tobytes() == np.array(wanted.values).tobytes()
        assert not host.all_ones or placed.values is None


# ---- the bits


@pytest.mark.parametrize("T", ["float32", "float64"])
@pytest.mark.parametrize("name", INPUTS)
def test_rows_are_those_of_the_host(engine, name, T):
    for seed in (0, 1, 2):
        compare_rows(host_backend(seed).device, *(rows.rounded(T) for rows in both(name)))


@pytest.mark.parametrize("seed", range(20))
def test_random_rows_are_those_of_the_host(engine, seed):
    arrays = make_messy(seed, zeros=seed % 2 == 0)
    host, placed = from_csr(identity, arrays), place_rows(engine.device, from_csr(CudaArray, arrays))
    np.testing.assert_array_equal(placed.starts, host.indptr)
    np.testing.assert_array_equal(placed.indices, host.indices)
    assert placed.values.tobytes() == np.array(host.values).tobytes()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["canonical", "float64", "zeros", "messy", "dense", "ids"])
def test_training_gives_the_model_of_the_host(engine, name, kind):
    host, there = both(name, kind)
    options = {**OPTIONS, "validation_fraction": 0.3, "patience": 5}
    wanted = fwfm_gpu.train(host, TARGETS, sample_weight=WEIGHTS, device="numpy", **options)
    got = fwfm_gpu.train(there, kind(TARGETS), sample_weight=kind(WEIGHTS), **options)
    assert_same_model(got, wanted)
    for predict in ("decision_function", "predict_proba", "predict"):
        sent = getattr(got, predict)(there)
        assert isinstance(sent, DlpackArray if kind is DlpackArray else np.ndarray)
        np.testing.assert_array_equal(unwrap(sent), getattr(wanted, predict)(host), strict=True)


@pytest.mark.parametrize("wrap", [CupyxMatrix, TorchCsr])
def test_sparse_matrices_of_other_libraries_come_in(engine, wrap):
    arrays = make_csr()
    X = wrap(tuple(CudaArray(array) for array in arrays), (ROWS, N))
    host = sparse.csr_array(arrays[::-1], shape=(ROWS, N))
    got = fwfm_gpu.train(X, TARGETS, fields=FIELDS, **OPTIONS)
    assert_same_model(got, fwfm_gpu.train(host, TARGETS, fields=FIELDS, device="numpy", **OPTIONS))
    np.testing.assert_array_equal(unwrap(got.decision_function(X)), got.decision_function(host))


@pytest.mark.parametrize("wrap", KINDS)
def test_what_comes_later_is_read_there_too(engine, wrap):
    X, y, weight = make_dense(), TARGETS, WEIGHTS

    def run(wrap, device):
        evaluated = (wrap(X[:40]), wrap(y[:40]), wrap(weight[:40]))
        model = fwfm_gpu.train(
            wrap(X), wrap(y), fields=FIELDS, eval_set=evaluated, device=device, n_factors=2, epochs=1, progress=False
        )
        model.continue_training(wrap(X), wrap(y), epochs=1, eval_set=evaluated, progress=False)
        return model.partial_fit(wrap(X[:50]), wrap(y[:50]), sample_weight=wrap(weight[:50]))

    assert_same_model(run(wrap, "cuda"), run(identity, "numpy"))


def test_labels_that_are_strings_stay_on_the_host(engine):
    y = np.where(TARGETS > 0, "yes", "no")
    model = fwfm_gpu.train(DlpackArray(make_dense()), y, **OPTIONS)
    assert type(model.predict(DlpackArray(make_dense()))) is np.ndarray
    assert isinstance(model.predict_proba(DlpackArray(make_dense())), DlpackArray)


def test_softmax_and_squared_loss_send_their_predictions_back(engine):
    X, y = make_dense(), np.arange(ROWS) % 3
    for loss in ("softmax", "squared"):
        got = fwfm_gpu.train(DlpackArray(X), DlpackArray(y), loss=loss, **OPTIONS)
        wanted = fwfm_gpu.train(X, y, loss=loss, device="numpy", **OPTIONS)
        assert_same_model(got, wanted)
        np.testing.assert_array_equal(got.predict(DlpackArray(X)).inside, wanted.predict(X), strict=True)


# ---- no copy


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("index", ["int32", "int64"])
@pytest.mark.parametrize("T", ["float32", "float64"])
def test_canonical_rows_of_that_dtype_are_used_where_they_lie(engine, T, index, kind):
    arrays = make_csr(T, index)
    data = engine.load_data(from_csr(kind, arrays).rounded(T), TARGETS)
    indptr, indices, values = arrays
    assert np.shares_memory(data.indices, indices)
    assert np.shares_memory(data.values, values)
    assert np.shares_memory(data.indptr, indptr) is (index == "int64")
    assert data.index == index


@pytest.mark.parametrize("name", INPUTS)
def test_the_callers_arrays_stay_as_they_were(engine, name):
    _, there = both(name)
    before = [np.array(array.inside) for array in there.source.arrays]
    fwfm_gpu.train(there, TARGETS, **{**OPTIONS, "epochs": 1, "validation_fraction": 0.2})
    for array, copy in zip(there.source.arrays, before, strict=True):
        np.testing.assert_array_equal(array.inside, copy, strict=True)


def test_an_epoch_fetches_no_rows(engine, monkeypatch):
    fetched = []

    def fetch(array):
        fetched.append(array.nbytes)
        return np.array(array)

    monkeypatch.setattr(engine.device, "to_host", fetch)

    def count(epochs):
        fetched.clear()
        rows = from_csr(CudaArray, make_csr())
        fwfm_gpu.train(rows, TARGETS, **{**OPTIONS, "epochs": epochs, "batch_size": 1000})
        return len(fetched), sum(fetched)

    calls, size = zip(*(count(epochs) for epochs in (1, 2, 4)), strict=True)
    assert calls[2] - calls[1] == 2 * (calls[1] - calls[0])
    assert size[2] - size[1] == 2 * (size[1] - size[0]) == 2 * (3 * 8 + 8)  # a cursor and a loss each


def test_without_faults_only_starts_and_places_are_fetched(engine, monkeypatch):
    fetched = []
    monkeypatch.setattr(engine.device, "to_host", lambda array: fetched.append(array.shape) or np.array(array))
    place_rows(engine.device, from_csr(CudaArray, make_csr()))
    assert fetched == [(ROWS + 1,), (2,), (3,)]


# ---- bad input


def changed(which: int, place, value, arrays=None) -> tuple:
    arrays = [np.array(array) for array in (make_csr() if arrays is None else arrays)]
    arrays[which][place] = value
    return tuple(arrays)


def shortened(which: int) -> tuple:
    arrays = list(make_csr())
    arrays[which] = arrays[which][:-1]
    return tuple(arrays)


def spoiled(value) -> np.ndarray:
    X = make_dense()
    X[70, 3], X[40, 5] = np.inf, value
    return X


messy_nan = changed(2, 17, np.nan, make_messy())
BAD = {
    "indptr from 1": (from_csr, changed(0, 0, 1)),
    "indptr that falls": (from_csr, changed(0, 30, 3)),
    "indptr that ends late": (from_csr, changed(0, -1, 10000)),
    "indptr too short": (from_csr, shortened(0)),
    "indices too few": (from_csr, shortened(1)),
    "values too few": (from_csr, shortened(2)),
    "floating-point indptr": (from_csr, (make_csr()[0].astype("f4"), *make_csr()[1:])),
    "floating-point indices": (from_csr, (make_csr()[0], make_csr()[1].astype("f4"), make_csr()[2])),
    "a negative column": (from_csr, changed(1, [200, 111], -2)),
    "a column beyond": (from_csr, changed(1, [200, 111, 7], [-1, N + 1, N])),
    "many columns beyond": (from_csr, changed(1, slice(37, None), N)),
    "two axes of values": (from_csr, (*make_csr()[:2], make_csr()[2][:, None])),
    "complex": (from_csr, (*make_csr()[:2], make_csr()[2] + 0j)),
    "NaN": (from_csr, changed(2, [150, 99], np.nan)),
    "many NaN": (from_csr, changed(2, slice(37, None), np.nan)),
    "-infinity": (from_csr, changed(2, [150, 99], [np.nan, -np.inf])),
    "beyond float32": (from_csr, changed(2, [150, 99], -1e39, make_csr("float64"))),
    "NaN among duplicates": (from_csr, messy_nan),
    "beyond when summed": (from_csr, changed(2, slice(None), 3e38, make_messy())),
    "dense NaN": (from_matrix, spoiled(np.nan)),
    "dense infinity": (from_matrix, spoiled(-np.inf).astype("f4")),
    "dense beyond float32": (from_matrix, np.where(np.isinf(spoiled(-1e39)), 1e39, spoiled(-1e39))),
    "dense complex": (from_matrix, make_dense() + 0j),
    "a negative id": (from_ids, np.where(np.arange(ROWS * 3).reshape(-1, 3) % 100 == 70, -1, IDS)),
    "an id beyond": (from_ids, np.where(np.arange(ROWS * 3).reshape(-1, 3) % 100 == 70, 4, IDS)),
    "floating-point ids": (from_ids, IDS.astype(float)),
}


def refusal(call) -> tuple[type, str]:
    with pytest.raises(FwfmError) as caught:
        call()
    return type(caught.value), str(caught.value)


@pytest.mark.parametrize("name", BAD)
def test_bad_rows_are_refused_as_on_the_host(engine, name):
    make, arrays = BAD[name]
    wanted = refusal(lambda: make(identity, arrays).rounded("float32"))
    assert refusal(lambda: engine.load_data(make(CudaArray, arrays).rounded("float32"))) == wanted


def test_a_refusal_names_the_feature(engine):
    names = [f"f{i}" for i in range(N)]
    rows = FieldMatrix.from_matrix(CudaArray(spoiled(np.nan)), FIELDS, feature_names=names).rounded("float32")
    assert "nan at row 40, column 5 (feature 'f5')" in refusal(lambda: engine.load_data(rows))[1]


def test_a_bad_value_is_fetched_alone(engine, monkeypatch):
    fetched = []
    monkeypatch.setattr(engine.device, "to_host", lambda array: fetched.append(array.shape) or np.array(array))
    make, arrays = BAD["NaN"]
    refusal(lambda: engine.load_data(make(CudaArray, arrays)))
    assert fetched == [(ROWS + 1,), (2,), (3,), (1,), (1,)]


def test_an_array_that_does_not_open_is_named(engine, monkeypatch):
    def adopt(array):
        raise BufferError("it needs a gradient")

    monkeypatch.setattr(engine.device, "adopt", adopt)
    kind, text = refusal(lambda: engine.load_data(from_csr(CudaArray, make_csr()).rounded("float32")))
    assert kind is InputTypeError
    assert text == "indptr must be an array that host can open, got CudaArray: it needs a gradient"


# ---- engines without a device


def test_the_numpy_engine_opens_no_device():
    host = make_dense()
    model = fwfm_gpu.train(host, TARGETS, device="numpy", **OPTIONS)
    calls = [
        lambda: fwfm_gpu.train(CudaArray(host), TARGETS, device="numpy", **OPTIONS),
        lambda: fwfm_gpu.train(host, CudaArray(TARGETS), device="numpy", **OPTIONS),
        lambda: fwfm_gpu.train(host, TARGETS, sample_weight=DlpackArray(WEIGHTS), device="numpy", **OPTIONS),
        lambda: fwfm_gpu.train(host, TARGETS, eval_set=(host, CudaArray(TARGETS)), device="numpy", **OPTIONS),
        lambda: model.partial_fit(CudaArray(host), TARGETS),
        lambda: model.partial_fit(host, CudaArray(TARGETS)),
        lambda: model.continue_training(host, CudaArray(TARGETS), epochs=1),
        lambda: model.predict(CudaArray(host)),
    ]
    for call in calls:
        kind, text = refusal(call)
        assert kind is InputTypeError
        assert "lies on a device" in text
        assert "pass device='cuda', or copy" in text


# ---- on a GPU


@pytest.fixture
def cupy():
    """CuPy, where a GPU answers."""
    return pytest.importorskip("cupy", reason="CuPy is not installed: nothing can lie on a GPU")


@pytest.mark.gpu
@pytest.mark.parametrize("T", ["float32", "float64"])
@pytest.mark.parametrize("name", INPUTS)
def test_rows_on_a_gpu_are_those_of_the_host(cupy, name, T):
    compare_rows(get_backend("cuda").device, *(rows.rounded(T) for rows in both(name, cupy.asarray)))


@pytest.mark.gpu
@pytest.mark.parametrize("name", BAD)
def test_bad_rows_on_a_gpu_are_refused_as_on_the_host(cupy, name):
    make, arrays = BAD[name]
    wanted = refusal(lambda: make(identity, arrays).rounded("float32"))
    backend = get_backend("cuda")
    assert refusal(lambda: backend.load_data(make(cupy.asarray, arrays).rounded("float32"))) == wanted


@pytest.mark.gpu
def test_cupyx_rows_are_trained_on_where_they_lie(cupy):
    from cupyx.scipy.sparse import csr_matrix

    host = sparse.csr_matrix(make_csr()[::-1], shape=(ROWS, N))
    X, backend = csr_matrix(host), get_backend("cuda")
    data = backend.load_data(FieldMatrix.from_matrix(X, FIELDS).rounded("float32"))
    assert (data.indices.data.ptr, data.values.data.ptr) == (X.indices.data.ptr, X.data.data.ptr)
    options = {**OPTIONS, "fields": FIELDS, "validation_fraction": 0.3}
    got = fwfm_gpu.train(X, cupy.asarray(TARGETS), device="cuda", **options)
    wanted = fwfm_gpu.train(host, TARGETS, device="numpy", **options)
    assert_same_model(got, wanted)
    for predict in ("decision_function", "predict_proba", "predict"):
        sent = getattr(got, predict)(X)
        assert type(sent) is cupy.ndarray
        np.testing.assert_array_equal(sent.get(), getattr(wanted, predict)(host), strict=True)


@pytest.mark.gpu(may_skip=True)
def test_torch_tensors_come_in_and_go_back(cupy):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: its tensors cannot come in")
    if not torch.cuda.is_available():
        pytest.skip("this PyTorch has no CUDA")
    host, parts = sparse.csr_array(make_csr()[::-1], shape=(ROWS, N)), [torch.tensor(a).cuda() for a in make_csr()]
    got = fwfm_gpu.train(host, torch.tensor(TARGETS).cuda(), fields=FIELDS, device="cuda", **OPTIONS)
    wanted = got.decision_function(host)
    for X in (torch.sparse_csr_tensor(*parts, size=(ROWS, N)), torch.tensor(host.toarray()).cuda()):
        sent = got.decision_function(X)
        assert isinstance(sent, torch.Tensor)
        np.testing.assert_array_equal(sent.cpu().numpy(), wanted, strict=True)
