"""The loop: epochs of batches, evaluation, early stopping, divergence, interruption."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fwfm_gpu.backends import Backend
from fwfm_gpu.callbacks import Callbacks, Status
from fwfm_gpu.checkpoints import Checkpoints
from fwfm_gpu.errors import CheckpointError, DivergenceError, InterruptedTrainingWarning
from fwfm_gpu.evaluation import Evaluation
from fwfm_gpu.history import EpochRecord, Position
from fwfm_gpu.interruption import Interruption
from fwfm_gpu.metrics import Score
from fwfm_gpu.model import BestEpoch, FwFM, Trained
from fwfm_gpu.passes import Part, Passes
from fwfm_gpu.recipe import Recipe

__all__ = ["Loop", "Setting", "diverged"]

logger = logging.getLogger("fwfm_gpu")

PROMPT = 0.1  # seconds of batches queued at once: how long Ctrl-C may wait


@dataclass(frozen=True)
class Setting:
    """Where and how a loop runs."""

    backend: Backend
    recipe: Recipe
    evaluations: tuple[Evaluation, ...]  # the first metric of the first one steers
    callbacks: Callbacks
    shuffle: bool
    patience: int | None
    min_delta: float
    make_model: Callable[[Trained], FwFM]
    rates: Mapping[int, float]  # the learning rate of each epoch that may come, from 0
    checkpoints: Checkpoints | None = None
    resumes: bool = False  # from a checkpoint: of this very training
    interruption: Interruption | None = None  # the caller's, who then sees to what Ctrl-C leads to


@dataclass(frozen=True)
class Point:
    """Where training can go back to."""

    position: Position
    model: Any  # resident snapshot
    generator_state: dict[str, Any]


@dataclass(frozen=True)
class Best:
    """The best epoch so far."""

    value: float
    point: Point


def diverged(position: Position, model: FwFM) -> DivergenceError:
    """The error for the batch that follows a position."""
    epoch, batch = position.epochs + 1, position.batches + 1
    return DivergenceError(
        f"training diverged: a score or parameter is not finite in epoch {epoch}, batch {batch}. Lower learning_rate, "
        "scale the values of X, or raise l2. The model of the last finite epoch is in the error's .model.",
        epoch=epoch,
        batch=batch,
        model=model,
    )


class Loop:
    """Training under way. What it reaches is ``run``'s result; nothing the caller gave is changed."""

    def __init__(self, setting: Setting, passes: Passes, start: Trained) -> None:
        self.setting, self.passes, self.start = setting, passes, start
        backend = setting.backend
        self.held = [backend.load_data(evaluation.rows) for evaluation in setting.evaluations]
        self.model = backend.load_model(start.parameters, start.optimizer_state, setting.recipe)
        self.generator = np.random.default_rng()
        self.generator.bit_generator.state = start.generator_state
        self.position = start.position
        self.history = [record for record in start.history if record.epoch <= start.position.epochs]
        self.batches, self.total_weight = passes.batches, passes.total_weight
        self.seconds = 0.0
        self.at_once = 1
        self.drawn_from = start.generator_state  # what the epoch under way draws its order from
        self.paused = 0.0  # seconds spent on checkpoints
        goes_on = setting.checkpoints is not None and setting.checkpoints.kept
        self.written = self.done if goes_on else -1  # batches done when the last checkpoint was written
        self.stopping = False
        self.higher_is_better: dict[str, bool] = {}
        self.best = self.first_best()

    def run(self, epochs: int) -> Trained:
        """So many more epochs, fewer when something stops them."""
        self.last = self.position.epochs + epochs
        with self.setting.interruption or Interruption() as self.interruption:
            try:
                self.stopping = self.tell("begin") or self.interruption.requested or self.ended_early()
                while self.position.epochs < self.last and not self.stopping:
                    self.run_epoch()
                self.write_checkpoint(last=True)
            finally:
                self.tell("end")
        if self.cut_short:
            self.warn_of_interruption()
        else:
            self.restore_best()
        return self.snapshot()

    def warn_of_interruption(self) -> None:
        """Say where training stopped, unless the caller does."""
        if self.setting.interruption is None:
            warnings.warn(
                f"{self.interruption.cause}: training stopped in epoch {self.position.epochs + 1} after "
                f"{self.position.batches} of {self.batches} batches. The model is as of the last finished batch; "
                f"{'continue_training' if self.setting.checkpoints is None else 'train(..., resume=...)'} goes on "
                "there.",
                InterruptedTrainingWarning,
                stacklevel=6,
            )

    def run_epoch(self) -> None:
        """The rest of the current epoch, its record and its evaluation."""
        setting = self.setting
        self.entered = self.here()
        self.drawn_from = self.entered.generator_state
        began, paused, rows = time.perf_counter(), self.paused, 0
        parts = self.passes.parts(
            self.generator if setting.shuffle else None, self.position.batches, lambda: self.interruption.requested
        )
        while self.position.batches < self.batches and not self.stopping:
            rows += self.run_part(next(parts, None))
        seconds = time.perf_counter() - began - (self.paused - paused)
        self.seconds += seconds
        if self.position.batches < self.batches:
            self.generator.bit_generator.state = self.drawn_from
            return
        scores = self.evaluate(self.model)
        metrics = {score.name: score.value for score in scores}
        self.higher_is_better = {score.name: score.higher_is_better for score in scores}
        loss, self.position = self.position.loss / self.total_weight, Position(self.position.epochs + 1)
        rate = setting.rates[self.entered.position.epochs]
        self.history.append(EpochRecord(self.position.epochs, loss, metrics, seconds, rows / seconds, rate))
        self.stopping = self.tell("epoch") or self.stopping or self.interruption.requested
        if scores and setting.patience is not None:
            self.watch(scores[0], setting.patience)
        self.write_checkpoint()

    def run_part(self, part: Part | None) -> int:
        """The batches of a part, and how many rows it visits. There is none after Ctrl-C."""
        if part is None:
            self.stopping = True
            return 0
        data, order = part
        before, rate = self.position, self.setting.rates[self.position.epochs]
        run = self.setting.backend.begin(self.model, data, order, before.loss, rate)
        end = before.batches + -(-len(order) // self.setting.recipe.batch_size)
        while self.position.batches < end and not self.stopping:
            self.advance(run, before)
            self.stopping = self.tell("batches") or self.interruption.requested
            if self.position.batches < self.batches:
                self.write_checkpoint()
        return len(order)

    def advance(self, run: Any, before: Position) -> None:
        """Some more batches of a run that began at a position: about as many as fit PROMPT seconds."""
        checkpoints, at_once, began = self.setting.checkpoints, self.at_once, time.perf_counter()
        if checkpoints is not None:
            at_once = checkpoints.at_once(at_once, self.done)
        self.setting.backend.advance(run, at_once)
        collected = self.setting.backend.collect(run)
        took = time.perf_counter() - began
        self.at_once = max(1, int(min(2.0 * self.at_once, at_once * PROMPT / max(took, 1e-9), self.batches)))
        self.position = replace(before, batches=before.batches + collected.batches, loss=collected.loss)
        if collected.first_bad is not None:
            raise self.divergence(self.position)

    @property
    def cut_short(self) -> bool:
        """Whether Ctrl-C came before the last epoch ended."""
        return self.interruption.requested and self.position.epochs < self.last

    @property
    def done(self) -> int:
        """Batches since training began."""
        return self.position.epochs * self.batches + self.position.batches

    def write_checkpoint(self, last: bool = False) -> None:
        """Where training stands, if a checkpoint is due here or this is the last of all."""
        checkpoints = self.setting.checkpoints
        if checkpoints is None or self.written == self.done:
            return
        if not last and not checkpoints.due(self.done, at_end_of_epoch=self.position.batches == 0):
            return
        began = time.perf_counter()
        try:
            checkpoints.write(self.setting.make_model(self.snapshot()))
        except CheckpointError as error:
            if last and not self.cut_short:
                self.restore_best()
            error.model = self.setting.make_model(self.snapshot())
            raise
        self.written = self.done
        self.paused += time.perf_counter() - began

    def evaluate(self, model: Any) -> list[Score]:
        """The metrics after an epoch; scores that are not finite are divergence, found late."""
        found: list[Score] = []
        for evaluation, held in zip(self.setting.evaluations, self.held, strict=True):
            s_bc = self.setting.backend.score(model, held)
            if not np.all(np.isfinite(s_bc)):
                raise self.divergence(replace(self.position, batches=self.batches - 1))
            found += evaluation.measure(self.setting.recipe.loss, s_bc)
        return found

    def divergence(self, before: Position) -> DivergenceError:
        """Back to where the epoch was entered; the error for the batch that follows a position."""
        self.restore(self.entered)
        return diverged(before, self.setting.make_model(self.snapshot()))

    def first_best(self) -> Best | None:
        """Training that goes on has the best epoch so far to beat: one that was kept, else where it stands.

        It is measured anew: the record may be of another metric, of other rows, or of before a partial_fit.
        """
        kept = self.start.best
        if self.setting.patience is None or not self.history or (kept is None and self.position.batches):
            return None
        epoch, point = self.position.epochs, None
        if kept is not None:
            model = self.setting.backend.load_model(kept.parameters, kept.optimizer_state, self.setting.recipe)
            epoch, point = kept.epoch, Point(Position(kept.epoch), model, kept.generator_state)
        point = point or self.here()
        if self.setting.resumes:  # nothing came between
            return Best(next(iter(self.history[epoch - 1].metrics.values())), point)
        return Best(self.evaluate(point.model)[0].value, point)

    def ended_early(self) -> bool:
        """Whether patience had run out when the checkpoint was written that training goes on from."""
        patience, best = self.setting.patience, self.best
        if patience is None or best is None or self.position.batches or not self.setting.resumes:
            return False
        return self.position.epochs - best.point.position.epochs >= patience

    def here(self) -> Point:
        """Where training stands."""
        state = dict(self.generator.bit_generator.state)
        return Point(self.position, self.setting.backend.copy_model(self.model), state)

    def watch(self, score: Score, patience: int) -> None:
        """Early stopping: no gain of more than min_delta for ``patience`` epochs."""
        if self.best is None or (
            score.value - self.best.value > self.setting.min_delta
            if score.higher_is_better
            else self.best.value - score.value > self.setting.min_delta
        ):
            self.best = Best(score.value, self.here())
        elif self.position.epochs - self.best.point.position.epochs >= patience:
            self.stopping = True

    def restore_best(self) -> None:
        """Back to the best epoch, where one ends and patience looks for it."""
        if self.best is not None and self.position.batches == 0:
            self.restore(self.best.point)

    def restore(self, point: Point) -> None:
        """Back to a point: parameters, state and generator, so that training goes on from there."""
        self.model, self.position = point.model, point.position
        self.generator.bit_generator.state = point.generator_state

    def snapshot(self) -> Trained:
        """What was reached, on the host."""
        parameters, state = self.setting.backend.fetch_model(self.model)
        return replace(
            self.start,
            parameters=parameters,
            optimizer_state=state,
            generator_state=self.generator_state(),
            history=tuple(self.history),
            position=self.position,
            best=self.kept_best(),
            seconds=self.start.seconds + self.seconds,
            numpy_version=np.__version__,
        )

    def generator_state(self) -> dict[str, Any]:
        """As it is, or in the midst of an epoch as it was before the epoch's order was drawn."""
        return self.drawn_from if self.position.batches else dict(self.generator.bit_generator.state)

    def kept_best(self) -> BestEpoch | None:
        """The best epoch, when training pauses elsewhere."""
        if self.best is None or self.best.point.position == self.position:
            return None
        parameters, state = self.setting.backend.fetch_model(self.best.point.model)
        return BestEpoch(self.best.point.position.epochs, parameters, state, self.best.point.generator_state)

    def tell(self, event: str) -> bool:
        """Let the callbacks know; True when one wants to stop."""
        running = min(self.position.epochs + 1, self.last) if event != "epoch" else self.position.epochs
        batch = self.batches if event == "epoch" else self.position.batches
        status = Status(running, self.last, batch, self.batches, tuple(self.history), self.higher_is_better)
        return self.setting.callbacks.tell(event, status)
