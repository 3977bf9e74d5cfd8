"""The options of ``train`` as one frozen, checked object.

Every check happens here, before any work starts; a message lists what is allowed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from fwfm_gpu.errors import OptionError
from fwfm_gpu.losses import LOSSES
from fwfm_gpu.optimizers import FTRL, RULES, Adam, Rule
from fwfm_gpu.recipe import Penalties, Recipe
from fwfm_gpu.row_norms import NORMS
from fwfm_gpu.schedules import SCHEDULES, Plan, ScheduleFunction

__all__ = ["Metrics", "Options", "Schedule"]

Metrics = str | Callable[..., Any] | Sequence[str | Callable[..., Any]]

Schedule = str | ScheduleFunction

CHOICES: dict[str, tuple[Any, ...]] = {
    "loss": ("auto", *LOSSES),
    "normalize": NORMS,
    "optimizer": tuple(RULES),
    "ftrl_start": ("warm", "zero"),
    "field_weights": ("learn", "ones"),
    "validation": ("random", "tail"),
    "dtype": ("float32", "float64"),
    "shuffle": (True, False),
}
LEAST = {
    "n_factors": 0,
    "epochs": 0,
    "batch_size": 1,
    "warmup_epochs": 0,
    "schedule_every": 1,
    "shuffle_rows": 1,
    "seed": 0,
}
MOST_FACTORS = 1 << 16
POSITIVE = ("learning_rate", "epsilon")
NOT_NEGATIVE = ("ftrl_beta", "l1_linear", "l2_linear", "l1_factors", "l2_factors", "init_scale", "min_delta")
BELOW_ONE = ("beta_1", "beta_2", "label_smoothing")
NOT_ROUNDED = (
    "min_delta",
    "label_smoothing",
    "init_scale",
    "validation_fraction",
    "negative_sampling_rate",
    "schedule_floor",
    "schedule_decay",
)  # used in float64 (numerics 4 and 8)


@dataclass(frozen=True)
class Options:
    """What ``fwfm_gpu.train`` was asked for; its docstring says what each means.

    Raises
    ------
    OptionError
        A value outside what is allowed.
    """

    device: str = "auto"
    n_threads: int | None = None
    device_memory: int | None = None
    loss: str = "auto"
    normalize: str | None = None
    n_factors: int = 8
    epochs: int = 10
    batch_size: int = 1024
    optimizer: str = "adagrad"
    learning_rate: float = 0.1
    schedule: Schedule | None = "constant"  # None: a function that a model file could not keep
    warmup_epochs: int = 0
    schedule_floor: float = 0.0
    schedule_decay: float = 0.9
    schedule_every: int = 10
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-8
    ftrl_beta: float = 1.0
    ftrl_start: str = "warm"
    l1_linear: float = 0.0
    l2_linear: float = 1e-5
    l1_factors: float = 0.0
    l2_factors: float = 1e-4
    init_scale: float = 0.01
    field_weights: str = "learn"
    label_smoothing: float = 0.0
    gradient_clip: float | None = None
    negative_sampling_rate: float | None = None
    class_weight: str | Mapping[Any, float] | None = None
    eval_metric: Metrics | None = "auto"  # None: a function that a model file could not keep
    patience: int | None = None
    min_delta: float = 0.0
    validation_fraction: float | None = None
    validation: str = "random"
    shuffle: bool = True
    shuffle_rows: int = 1 << 20
    dtype: str = "float32"
    seed: int = 0

    def __post_init__(self) -> None:
        for entry in fields(self):
            object.__setattr__(self, entry.name, own_value(getattr(self, entry.name)))
        for name, allowed in CHOICES.items():
            check_choice(name, getattr(self, name), allowed)
        for name, least in LEAST.items():
            check_integer(name, getattr(self, name), least)
        if self.n_factors > MOST_FACTORS:
            raise OptionError(f"n_factors must be a whole number from 0 to {MOST_FACTORS}; got {self.n_factors}.")
        for name in ("n_threads", "device_memory", "patience"):
            if getattr(self, name) is not None:
                check_integer(name, getattr(self, name), 1)
        for name in POSITIVE:
            self._check_number(name, "above 0", lambda value: value > 0)
        for name in NOT_NEGATIVE:
            self._check_number(name, "0 or above", lambda value: value >= 0)
        for name in BELOW_ONE:
            self._check_number(name, "from 0 to below 1", lambda value: 0 <= value < 1)
        self._check_number("schedule_floor", "from 0 to 1", lambda value: 0 <= value <= 1)
        self._check_number("schedule_decay", "above 0, 1 at most", lambda value: 0 < value <= 1)
        if self.schedule is not None and not callable(self.schedule):
            check_choice("schedule", self.schedule, SCHEDULES)
        if self.gradient_clip is not None:
            self._check_number("gradient_clip", "above 0", lambda value: value > 0)
        if self.negative_sampling_rate is not None:
            self._check_number("negative_sampling_rate", "above 0, 1 at most", lambda value: 0 < value <= 1)
        if self.validation_fraction is not None:
            self._check_number("validation_fraction", "between 0 and 1, both excluded", lambda value: 0 < value < 1)
        if self.optimizer != "ftrl" and (self.l1_linear or self.l1_factors):
            raise OptionError(
                f'l1_linear and l1_factors must be 0 with optimizer={self.optimizer!r}: L1 is for "ftrl" alone. '
                f"Got {self.l1_linear} and {self.l1_factors}."
            )

    def _check_number(self, name: str, wanted: str, holds: Callable[[float], bool]) -> None:
        """A number in its range, also after it is rounded to T."""
        value = getattr(self, name)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise OptionError(f"{name} must be a number {wanted}; got {value!r}.")
        rounded = round_to("float64" if name in NOT_ROUNDED else self.dtype, value)
        if not (math.isfinite(rounded) and holds(value) and (rounded > 0 or holds(0))):
            kind = "" if name in NOT_ROUNDED else f"{self.dtype} "
            raise OptionError(f"{name} must be a finite {kind}number {wanted}; got {value!r}.")

    def plain(self) -> dict[str, Any]:
        """The options as plain Python values."""
        return {entry.name: getattr(self, entry.name) for entry in fields(self)}

    def recipe(self, loss: str) -> Recipe:
        """The recipe of a mini-batch, with the loss that was settled on."""
        if loss == "squared" and self.label_smoothing:
            raise OptionError(
                f'label_smoothing must be 0 with loss="squared", which has no labels; got {self.label_smoothing}.'
            )
        if loss != "logistic" and self.negative_sampling_rate is not None:
            raise OptionError(
                f'negative_sampling_rate goes with loss="logistic", which has negatives, and not with {loss!r}; got '
                f"{self.negative_sampling_rate}."
            )
        return Recipe(
            loss=loss,
            rule=self._rule(),
            batch_size=int(self.batch_size),
            penalties=Penalties(
                float(self.l1_linear), float(self.l2_linear), float(self.l1_factors), float(self.l2_factors)
            ),
            label_smoothing=float(self.label_smoothing),
            learns_R=self.field_weights == "learn",
        )

    def rates(self, first: int, last: int) -> dict[int, float]:
        """The learning rate of each epoch from the first, counted from 0, to before the last (numerics 7).

        Raises
        ------
        OptionError
            A rate is not finite and above 0 in T, or the schedule was a function that the model's file could not keep.
        """
        if self.schedule is None:
            raise OptionError(
                "schedule was a function, which a model file cannot keep. Pass it again: "
                "continue_training(..., schedule=...)."
            )
        plan = Plan(
            schedule=self.schedule,
            epochs=int(self.epochs),
            warmup=int(self.warmup_epochs),
            floor=float(self.schedule_floor),
            decay=float(self.schedule_decay),
            every=int(self.schedule_every),
        )
        return {epoch: self._rate(epoch, plan.factor(epoch)) for epoch in range(first, last)}

    def _rate(self, epoch: int, factor: Any) -> float:
        """The rate of an epoch, a float64."""
        factor = own_value(factor)
        if isinstance(factor, bool) or not isinstance(factor, int | float):
            raise OptionError(f"schedule must give a number for each epoch; got {factor!r} for epoch {epoch + 1}.")
        rate = float(self.learning_rate) * round_to("float64", factor)
        if not 0 < round_to(self.dtype, rate) < math.inf:
            raise OptionError(
                f"learning_rate times the factor of the schedule must be a finite {self.dtype} number above 0; got "
                f"{rate!r} for epoch {epoch + 1}, a factor of {factor!r}. Raise schedule_floor, or train fewer epochs."
            )
        return rate

    def _rule(self) -> Rule:
        rate, clip = float(self.learning_rate), None if self.gradient_clip is None else float(self.gradient_clip)
        if self.optimizer == "adam":
            return Adam(rate, float(self.beta_1), float(self.beta_2), float(self.epsilon), gradient_clip=clip)
        if self.optimizer == "ftrl":
            return FTRL(rate, float(self.ftrl_beta), self.ftrl_start, gradient_clip=clip)
        return RULES[self.optimizer](rate, gradient_clip=clip)


def own_value(value: Any) -> Any:
    """NumPy scalars as Python ones; mappings and lists copied, so that the caller's may change."""
    if isinstance(value, np.generic):
        return float(value) if isinstance(value, np.floating) else value.item()
    if isinstance(value, Mapping):
        return dict(value)
    return tuple(value) if isinstance(value, list) else value


def round_to(dtype: str, value: float) -> float:
    """The number in that dtype, infinite where it is beyond it."""
    try:
        with np.errstate(over="ignore"):
            return float(np.dtype(dtype).type(value))
    except OverflowError:  # an integer beyond float64
        return math.inf


def check_choice(name: str, value: Any, allowed: tuple[Any, ...]) -> None:
    """One of a few values."""
    if not any(type(value) is type(choice) and value == choice for choice in allowed):
        raise OptionError(f"{name} must be one of {', '.join(map(repr, allowed))}; got {value!r}.")


def check_integer(name: str, value: Any, least: int) -> None:
    """A whole number, at least so much."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | np.integer) or value < least:
        raise OptionError(f"{name} must be a whole number, {least} or above; got {value!r}.")
