"""What a caller of ``train`` passes along with X and y, and no file keeps."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from fwfm_gpu.callbacks import Callback, Status
from fwfm_gpu.checkpoints import Checkpointing
from fwfm_gpu.evaluation import EvalSets
from fwfm_gpu.interruption import Interruption
from fwfm_gpu.options import Metrics, Options, Schedule

__all__ = ["CallbackLike", "Given"]

CallbackLike = Callback | Callable[[Status], bool | None]


@dataclass(frozen=True)
class Given:
    """What a caller passes along with X and y."""

    sample_weight: Any = None
    eval_set: EvalSets | None = None
    callbacks: Iterable[CallbackLike] = ()
    progress: bool | str = "auto"
    eval_metric: Metrics | None = None  # None: as in the options
    group: Any = None
    checkpointing: Checkpointing = field(default_factory=Checkpointing)
    interruption: Interruption | None = None  # of a caller that sees to Ctrl-C itself: no warning then
    schedule: Schedule | None = None  # None: as in the options
    counts: tuple[Any, Any] | None = None  # in place of y and sample_weight, where training goes on

    @property
    def group_column(self) -> str | None:
        """The column of a table or a source that ``group`` names."""
        return self.group if isinstance(self.group, str) else None

    def with_columns(self, weight: Any, group: Any, options: Options) -> Given:
        """Together with what a table holds itself; its groups matter where rows are held out."""
        used = group is not None and options.validation_fraction is not None
        weight = self.sample_weight if weight is None else weight
        return replace(self, sample_weight=weight, group=group if used else self.group)
