"""One hash for what training reached: equal for equal bits, and for nothing else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from small_models import RULES, make_rows, scripted, train

import fwfm_gpu

X, y = make_rows()


def quick(**options):
    return train(X, y, **{"device": "numpy", **options})


def with_trained(model, **changes):
    """The model with some of what training reached replaced."""
    options, trained = model.options, replace(model.trained, **changes)
    return fwfm_gpu.FwFM(options, model.loss, model.labels, model.columns, trained)


@pytest.mark.parametrize("field_weights", ["learn", "ones"])
@pytest.mark.parametrize("rule", RULES)
def test_every_engine_gives_the_same(device, rule, field_weights):
    options = {"optimizer": rule, "field_weights": field_weights}
    assert train(X, y, device=device, **options).fingerprint() == quick(**options).fingerprint()


def test_a_file_keeps_it(path):
    stopping = {"eval_set": (X, y), "eval_metric": "accuracy", "patience": 5, "epochs": 4}
    for options in ({"optimizer": "adam"}, stopping, {"class_weight": {"odd": 2.0}}, {"loss": "softmax"}):
        model = quick(**options)
        model.save(path)
        loaded = fwfm_gpu.load(path)
        assert loaded.fingerprint() == model.fingerprint()
        assert loaded.fingerprint(history=True) == model.fingerprint(history=True)


def test_a_pause_does_not_show():
    model = quick(epochs=1).continue_training(X, y, epochs=2, progress=False)
    assert model.fingerprint(history=True) == quick(epochs=3).fingerprint(history=True)


def test_where_it_runs_and_when_does_not_show():
    model = quick()
    other = with_trained(model, seconds=9.0, numpy_version="1.0", data_fingerprint="none")
    other.options = replace(model.options, device="cpu", n_threads=7, device_memory=10**9, epochs=99)
    assert other.fingerprint(history=True) == model.fingerprint(history=True)
    ordered = [quick(class_weight=weights) for weights in ({"odd": 2.0, "even": 3.0}, {"even": 3.0, "odd": 2.0})]
    assert ordered[0].fingerprint() == ordered[1].fingerprint()


def test_each_bit_of_what_is_learned_counts():
    model = quick(optimizer="adam", patience=9, eval_set=(X, y), eval_metric=scripted([1, 2, 2, 2]), epochs=2)
    trained, seen = model.trained, {model.fingerprint()}
    state = trained.optimizer_state
    for parameters in nudged(trained.parameters):
        seen.add(with_trained(model, parameters=parameters).fingerprint())
    for name, moment in state.moments.items():
        for arrays in nudged(moment):
            changed = replace(state, moments={**state.moments, name: arrays})
            seen.add(with_trained(model, optimizer_state=changed).fingerprint())
    for name in ("bias", "feature", "slot"):
        counts = replace(state.counts, **{name: getattr(state.counts, name) + 1})
        seen.add(with_trained(model, optimizer_state=replace(state, counts=counts)).fingerprint())
    seen.add(with_trained(model, optimizer_state=None).fingerprint())
    seen.add(with_trained(model, generator_state=quick(epochs=3).trained.generator_state).fingerprint())
    seen.add(with_trained(model, position=replace(trained.position, batches=1)).fingerprint())
    assert len(seen) == 1 + 4 + 2 * 4 + 3 + 3


def nudged(parameters):
    """The parameters with the last bit of one entry changed, in each array in turn."""
    for name, array in parameters.arrays().items():
        changed = array.copy()
        changed.reshape(-1)[-1] = np.nextafter(changed.reshape(-1)[-1], np.inf, dtype=array.dtype)
        yield replace(parameters, **{name: changed})


def test_labels_options_and_fields_count():
    models = [
        quick(),
        quick(l2_linear=1e-4),
        quick(patience=3, eval_set=(X, y)),
        train(X, np.where(y == "odd", "b", "a"), device="numpy"),
        train(X.to_csr(), y, device="numpy"),
    ]
    assert len({model.fingerprint() for model in models}) == len(models)


def test_nobody_looks_below_the_diagonal():
    model = quick()
    R = model.parameters.R.copy()
    R[0, 2, 1] = 7
    assert with_trained(model, parameters=replace(model.parameters, R=R)).fingerprint() == model.fingerprint()


def test_history_counts_when_asked():
    model = quick(eval_set=(X, y))
    last = model.history[-1]
    for record in (replace(last, loss=last.loss + 1), replace(last, metrics={"logloss": 0.0})):
        other = with_trained(model, history=(*model.history[:-1], record))
        assert other.fingerprint() == model.fingerprint()
        assert other.fingerprint(history=True) != model.fingerprint(history=True)
    other = with_trained(model, history=(*model.history[:-1], replace(last, seconds=9.0, rows_per_second=1.0)))
    assert other.fingerprint(history=True) == model.fingerprint(history=True)
