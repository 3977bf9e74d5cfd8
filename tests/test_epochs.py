"""The loop: evaluation, early stopping, divergence."""

from __future__ import annotations

import numpy as np
import pytest
from small_models import LOSSES, RULES, bits, make_rows, scripted, slow_fuse, train, values_of

from fwfm_gpu.errors import DivergenceError
from fwfm_gpu.metrics import evaluate, resolve_metrics

# evaluation


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("held_out", [False, True])
def test_metrics_are_those_of_the_scores(loss, held_out):
    X, y = make_rows(loss=loss)
    names = {"logistic": ["auc", "logloss", "accuracy", "ece"], "softmax": ["logloss", "accuracy", "ece"]}.get(
        loss, ["rmse"]
    )
    if held_out:
        options, rows, targets = {"validation_fraction": 0.25, "validation": "tail"}, X.take(np.arange(33, 44)), y[33:]
    else:
        rows, targets = make_rows(20, loss, seed=1)
        options = {"eval_set": (rows, targets)}
    model = train(X, y, eval_metric=names, **options)
    scores = model.decision_function(rows).reshape(len(targets), -1)
    encoded = targets if loss == "squared" else np.searchsorted(model.classes, targets).astype(float)
    want = evaluate(resolve_metrics(names, loss), loss, scores, encoded)
    assert model.history[-1].metrics == {score.name: score.value for score in want}
    assert list(model.history[-1].metrics) == names


@pytest.mark.parametrize("loss, name", [("logistic", "logloss"), ("softmax", "logloss"), ("squared", "rmse")])
def test_the_automatic_metric(loss, name):
    X, y = make_rows(loss=loss)
    assert list(train(X, y, eval_set=(X, y)).history[0].metrics) == [name]


def test_evaluation_changes_no_bit():
    X, y = make_rows()
    assert bits(train(X, y, eval_set=make_rows(20, seed=1))) == bits(train(X, y))


def test_weights_of_an_eval_set():
    X, y = make_rows()
    rows, targets = make_rows(20, seed=1)
    weight = np.arange(20) % 2
    weighted = train(X, y, eval_set=(rows, targets, weight))
    part = train(X, y, eval_set=(rows.take(np.flatnonzero(weight)), targets[weight == 1]))
    assert values_of(weighted, "logloss") == values_of(part, "logloss")
    assert values_of(weighted, "logloss") != values_of(train(X, y, eval_set=(rows, targets)), "logloss")


def test_held_out_rows_keep_their_sample_weights_but_no_class_weights():
    X, y = make_rows()
    weight = np.linspace(1, 3, 44)
    tail = {"validation_fraction": 0.25, "validation": "tail", "class_weight": {"odd": 5.0}, "sample_weight": weight}
    model = train(X, y, **tail)
    rows = np.arange(33, 44)
    scores = model.decision_function(X.take(rows))[:, None]
    [want] = evaluate(resolve_metrics("auto", "logistic"), "logistic", scores, (y[rows] == "odd") * 1.0, weight[rows])
    assert model.history[-1].metrics == {"logloss": want.value}


def test_a_metric_of_ones_own_sees_targets_and_probabilities():
    X, y = make_rows()
    seen = []
    model = train(X, y, eval_set=(X, y), eval_metric=lambda *given: (seen.append(given), ("mine", 1, True))[1])
    targets, probability = seen[-1]
    np.testing.assert_array_equal(targets, (y == "odd") * 1.0)
    np.testing.assert_array_equal(probability, model.predict_proba(X)[:, 1])
    assert values_of(model, "mine") == [1.0, 1.0]


# early stopping


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("loss", LOSSES)
def test_the_best_epoch_is_restored(rule, loss):
    X, y = make_rows(loss=loss)
    options = {"optimizer": rule, "validation_fraction": 0.2}
    model = train(X, y, epochs=9, patience=2, eval_metric=scripted([5, 4, 3, 6, 7, 8]), **options)
    assert values_of(model, "scripted") == [5, 4, 3, 6, 7]
    assert model.best_epoch == 3
    best = train(X, y, epochs=3, **options)
    assert bits(model) == bits(best)
    np.testing.assert_array_equal(model.decision_function(X), best.decision_function(X))


def test_training_goes_on_from_the_best_epoch(tmp_path):
    X, y = make_rows()
    model = train(X, y, epochs=9, patience=2, eval_set=(X, y), eval_metric=scripted([5, 4, 6, 7, 4, 3, 2]))
    assert model.best_epoch == 2  # its 4 is measured again before training goes on
    model.continue_training(X, y, epochs=2, eval_set=(X, y), progress=False)
    assert bits(model) == bits(train(X, y, epochs=4))
    assert values_of(model, "scripted") == [5, 4, 3, 2]
    assert [record.epoch for record in model.history] == [1, 2, 3, 4]


def test_training_that_goes_on_has_the_best_epoch_to_beat():
    X, y = make_rows()
    model = train(X, y, epochs=3, patience=2, eval_set=(X, y), eval_metric=scripted([5, 4, 3, 3, 3.5, 3.25, 1]))
    model.continue_training(X, y, epochs=9, eval_set=(X, y), progress=False)
    assert model.best_epoch == 3
    assert bits(model) == bits(train(X, y, epochs=3))
    assert values_of(model, "scripted") == [5, 4, 3, 3.5, 3.25]


def test_the_best_epoch_is_restored_when_the_epochs_run_out():
    X, y = make_rows()
    model = train(X, y, epochs=4, patience=9, eval_set=(X, y), eval_metric=scripted([5, 3, 4, 4]))
    assert (model.best_epoch, len(model.history)) == (2, 4)
    assert bits(model) == bits(train(X, y, epochs=2))


def test_without_patience_the_last_epoch_stays():
    X, y = make_rows()
    model = train(X, y, epochs=4, eval_set=(X, y), eval_metric=scripted([5, 3, 4, 4]))
    assert bits(model) == bits(train(X, y, epochs=4))


@pytest.mark.parametrize(
    "script, higher_is_better, min_delta, patience, best, epochs_run",
    [
        ([5, 4, 3, 4, 2], False, 0.0, 1, 3, 4),
        ([1, 2, 3, 2, 4], True, 0.0, 1, 3, 4),
        ([1, 2, 3, 2, 4, 1], True, 0.0, 2, 5, 6),
        ([3, 3, 3, 3], False, 0.0, 2, 1, 3),  # an equal value is no gain
        ([5, 4.5, 4, 3.5], False, 0.5, 2, 3, 4),  # 4.5 gains no more than 0.5; 4 gains 1 on the best
        ([5, 4.75, 4.5, 1], False, 0.5, 2, 1, 3),
        ([1, 1.5, 2, 2.25, 2.5, 9], True, 0.5, 2, 3, 5),
        ([-1, -2, -3, -3, -4], False, 0.0, 1, 3, 4),
    ],
)
def test_when_training_stops(script, higher_is_better, min_delta, patience, best, epochs_run):
    X, y = make_rows()
    model = train(
        X,
        y,
        epochs=len(script),
        patience=patience,
        min_delta=min_delta,
        eval_set=(X, y),
        eval_metric=scripted(script, higher_is_better),
    )
    assert (model.best_epoch, len(model.history)) == (best, epochs_run)


def test_the_first_metric_steers():
    X, y = make_rows()
    steering, other = scripted([1, 2, 3], name="steering"), scripted([3, 2, 1], name="other")
    model = train(X, y, epochs=3, patience=9, eval_set=(X, y), eval_metric=[steering, other])
    assert model.best_epoch == 1
    assert list(model.history[0].metrics) == ["steering", "other"]


def test_auc_may_steer():
    X, y = make_rows()
    model = train(X, y, epochs=30, patience=2, validation_fraction=0.3, eval_metric="auc", learning_rate=0.5)
    best = values_of(model, "auc").index(max(values_of(model, "auc"))) + 1
    assert model.best_epoch == best < len(model.history) == best + 2


# divergence


@pytest.mark.parametrize("batch_size, batch", [(1, 3), (2, 2), (4, 1)])
def test_the_batch_that_diverged_is_named(batch_size, batch):
    X, y, options = slow_fuse()
    options |= {"batch_size": batch_size, "learning_rate": 0.1 * batch_size, "epochs": 9}
    with pytest.raises(DivergenceError) as caught:
        train(X, y, **options)
    epoch = 4 if batch_size < 4 else 5  # its update comes after its scores
    assert (caught.value.epoch, caught.value.batch) == (epoch, batch)
    assert f"epoch {epoch}, batch {batch}" in str(caught.value)
    assert "learning_rate" in str(caught.value)
    finite = train(X, y, **{**options, "epochs": epoch - 1})
    assert bits(caught.value.model) == bits(finite)
    assert [record.loss for record in caught.value.model.history] == [record.loss for record in finite.history]


@pytest.mark.parametrize("seed", range(4))
def test_the_batch_is_numbered_in_the_order_of_the_epoch(seed):
    X, y, options = slow_fuse()
    generator = np.random.default_rng(seed)
    seen = [(epoch, batch, row) for epoch in range(1, 9) for batch, row in enumerate(generator.permutation(4), 1)]
    fourth = [place for place, (_, _, row) in enumerate(seen) if row == 0][3]
    epoch, batch = next((epoch, batch) for epoch, batch, row in seen[fourth:] if row == 2)
    options |= {"shuffle": True, "seed": seed}
    with pytest.raises(DivergenceError) as caught:
        train(X, y, **options, epochs=9)
    assert (caught.value.epoch, caught.value.batch) == (epoch, batch)
    assert bits(caught.value.model) == bits(train(X, y, **options, epochs=epoch - 1))


def test_a_model_that_diverged_at_once_is_the_start():
    X, y, options = slow_fuse()
    options |= {"learning_rate": 0.6}
    with pytest.raises(DivergenceError) as caught:
        train(X, y, **options)
    assert (caught.value.epoch, caught.value.batch) == (1, 3)
    assert bits(caught.value.model) == bits(train(X, y, **options, epochs=0))


@pytest.mark.parametrize("rule", RULES)
def test_a_parameter_that_is_not_finite_is_divergence(rule):
    X, y = make_rows(loss="squared")
    y[0] = 1e38  # its score is finite, the step is not
    options = {"optimizer": rule, "learning_rate": 1e30, "shuffle": False}
    with pytest.raises(DivergenceError) as caught:
        train(X, y, **options)
    assert (caught.value.epoch, caught.value.batch) == (1, 1)
    assert bits(caught.value.model) == bits(train(X, y, **options, epochs=0))


def test_divergence_that_the_evaluation_finds():
    X, y, options = slow_fuse()
    kept = [0, 1, 3]
    options |= {"sample_weight": options["sample_weight"][kept], "shuffle": True}
    with pytest.raises(DivergenceError) as caught:
        train(X[kept], y[kept], **options, epochs=9, eval_set=(X, y))
    assert (caught.value.epoch, caught.value.batch) == (4, 3)
    assert bits(caught.value.model) == bits(train(X[kept], y[kept], **options, epochs=3))
    assert len(caught.value.model.history) == 3


def test_divergence_while_going_on_leaves_the_model():
    X, y, options = slow_fuse()
    model = train(X, y, **options, epochs=2)
    before = bits(model)
    with pytest.raises(DivergenceError) as caught:
        model.continue_training(X, y, epochs=9, sample_weight=options["sample_weight"], progress=False)
    assert (caught.value.epoch, caught.value.batch) == (4, 3)
    assert bits(caught.value.model) == bits(train(X, y, **options, epochs=3))
    assert bits(model) == before


def test_divergence_in_a_pass_leaves_the_model():
    X, y, options = slow_fuse()
    model = train(X, y, **options, epochs=3)
    before = bits(model)
    with pytest.raises(DivergenceError) as caught:
        model.partial_fit(X, y, sample_weight=options["sample_weight"])
    assert (caught.value.epoch, caught.value.batch) == (4, 3)
    assert caught.value.model is model
    assert bits(model) == before


def test_thousands_of_short_epochs():
    X, y = make_rows()
    model = train(X, y, epochs=1200, n_factors=0, batch_size=64, device="numpy")
    assert len(model.history) == 1200
