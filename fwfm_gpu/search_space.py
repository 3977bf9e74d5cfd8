"""What a search is over: ranges of options, checked, and proposals from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from fwfm_gpu.errors import OptionError
from fwfm_gpu.options import Options

__all__ = ["RATES", "SPACE", "checked_space", "propose", "usual_point"]

RATES = {
    "adagrad": (0.01, 1.0, "log"),
    "adam": (1e-4, 0.1, "log"),
    "ftrl": (0.01, 1.0, "log"),
    "sgd": (0.01, 3.0, "log"),
}
SPACE: dict[str, Any] = {
    "optimizer": ["adagrad", "adam", "ftrl"],
    "learning_rate": RATES,
    "l2_linear": (1e-7, 1e-3, "log"),
    "l2_factors": (1e-6, 1e-2, "log"),
    "n_factors": [4, 8, 16],
}


def checked_space(
    space: Mapping[str, Any], given: Mapping[str, Any] | None, fixed: Mapping[str, Any]
) -> dict[str, Any]:
    """The space without what is fixed; every range of a kind that is understood."""
    known = {entry.name for entry in fields(Options)} - {"loss", "seed", "eval_metric", "device", "dtype"}
    left: dict[str, Any] = {}
    for name, kind in space.items():
        if name not in known:
            raise OptionError(f"space names {name!r}, which is no option to search over: {', '.join(sorted(known))}.")
        if name in fixed and name not in ("epochs", "patience"):
            if given is None:
                raise OptionError(f"{name} is both in the space and fixed at {fixed[name]!r}: leave one out.")
            continue
        if isinstance(kind, Mapping):
            if name != "learning_rate":
                raise OptionError(f"space[{name!r}] may be no mapping: only learning_rate hangs on the optimizer.")
            left[name] = {rule: checked_range(f"{name}, {rule}", one) for rule, one in kind.items()}
        else:
            left[name] = checked_range(name, kind)
    if not left:
        raise OptionError("the space is empty: leave an option to search over.")
    rules = left.get("optimizer", [fixed.get("optimizer", "adagrad")])
    rates = left.get("learning_rate")
    missing = [rule for rule in rules if isinstance(rates, Mapping) and rule not in rates]
    if missing:
        raise OptionError(f"space['learning_rate'] needs a range for optimizer {missing[0]!r}.")
    return dict(sorted(left.items(), key=lambda item: item[0] != "optimizer"))


def checked_range(name: str, kind: Any) -> Any:
    """A list of choices, or a range."""
    if isinstance(kind, list) and kind:
        return kind
    numbers = kind[:2] if isinstance(kind, tuple) and len(kind) in (2, 3) else ()
    sound = len(numbers) == 2 and all(isinstance(n, int | float) and not isinstance(n, bool) for n in numbers)
    if not sound or not numbers[0] <= numbers[1] or kind[2:] not in ((), ("log",)) or (kind[2:] and numbers[0] <= 0):
        raise OptionError(
            f"space of {name} must be a list of choices, (low, high) or (low, high, 'log') above 0; got {kind!r}."
        )
    return kind


def suggest(trial: Any, name: str, kind: Any) -> Any:
    """A value of one range."""
    if isinstance(kind, list):
        return trial.suggest_categorical(name, kind)
    low, high, log = kind[0], kind[1], len(kind) == 3
    if isinstance(low, int) and isinstance(high, int):
        return trial.suggest_int(name, low, high, log=log)
    return trial.suggest_float(name, low, high, log=log)


def propose(trial: Any, space: Mapping[str, Any], fixed: Mapping[str, Any]) -> dict[str, Any]:
    """Options from the space; the range of the learning rate may hang on the rule."""
    chosen: dict[str, Any] = {}
    for name, kind in space.items():
        if isinstance(kind, Mapping):
            rule = chosen.get("optimizer", fixed.get("optimizer", "adagrad"))
            chosen[name] = suggest(trial, f"{name}_{rule}", kind[rule])
        else:
            chosen[name] = suggest(trial, name, kind)
    return chosen


def usual_point(space: Mapping[str, Any], fixed: Mapping[str, Any]) -> dict[str, Any] | None:
    """The defaults as a first trial, by the names of Optuna's parameters; None where the space does not hold them."""
    usual = Options()
    start: dict[str, Any] = {}
    for name, kind in space.items():
        value = getattr(usual, name)
        if isinstance(kind, Mapping):
            rule = start.get("optimizer", fixed.get("optimizer", usual.optimizer))
            name, kind = f"{name}_{rule}", kind[rule]
        inside = value in kind if isinstance(kind, list) else kind[0] <= value <= kind[1]
        if not inside:
            return None
        start[name] = value
    return start
