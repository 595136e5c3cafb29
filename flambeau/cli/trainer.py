"""The training loop: epochs of steps, validation, the learning rate's schedule and the checkpoints."""

from __future__ import annotations

import logging
import math
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from tqdm import tqdm

from flambeau import optim
from flambeau.autograd import no_grad
from flambeau.cli import randomness
from flambeau.cli.checkpoint import Checkpoint
from flambeau.cli.data import Augmented
from flambeau.cli.errors import Interrupted, UserError
from flambeau.cli.folder import append_metrics
from flambeau.cli.images import Preprocessing
from flambeau.cli.settings import TrainSettings
from flambeau.nn import CrossEntropyLoss, Module
from flambeau.nn.utils import clip_grad_norm_
from flambeau.optim import lr_scheduler
from flambeau.utils.data import DataLoader

log = logging.getLogger("flambeau")


@dataclass
class Progress:
    """How far training has come. Plain numbers, as it is part of a checkpoint."""

    epoch: int = 0  # complete epochs
    steps: int = 0  # steps of the current epoch
    loss_sum: float = 0.0  # over the images seen in the current epoch
    correct: int = 0
    seen: int = 0
    best: float = -math.inf  # the best accuracy so far; loss and epoch of the network that is kept (see `as_good_as`)
    best_loss: float = math.inf
    best_epoch: int = 0


@dataclass
class Result:
    """What an evaluation found: the mean loss, and the true and the predicted class of each image."""

    loss: float
    labels: np.ndarray
    predictions: np.ndarray

    @property
    def accuracy(self) -> float:
        return float((self.labels == self.predictions).mean())


class StopRequest:
    """Turns the first Ctrl-C into a request that the loop honours between two steps; the second one is Ctrl-C."""

    def __init__(self) -> None:
        self.made = False

    @contextmanager
    def listening(self) -> Iterator[None]:
        previous = signal.signal(signal.SIGINT, self._handle)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, previous)

    def _handle(self, *_: Any) -> None:
        self.made = True
        signal.signal(signal.SIGINT, signal.default_int_handler)
        log.warning("stopping after this step; press Ctrl-C again to stop at once")


class Trainer:
    """Trains one network on one loader, and can be stopped and continued at any step.

    `run()` leaves `best.pt`, `last.pt` and `metrics.jsonl` in `folder`.
    """

    def __init__(
        self,
        settings: TrainSettings,
        model: Module,
        classes: list[str],
        preprocessing: Preprocessing,
        train_loader: DataLoader,
        val_loader: DataLoader | None,
    ) -> None:
        self.settings = settings
        self.model = model
        self.classes = classes
        self.preprocessing = preprocessing
        self.train_loader = train_loader
        self.train_images: Augmented = train_loader.dataset
        self.val_loader = val_loader
        self.folder = settings.folder
        self.loss = CrossEntropyLoss(label_smoothing=settings.label_smoothing)
        self.optimizer = make_optimizer(settings, model)
        self.schedule = make_schedule(settings, self.optimizer, len(train_loader))
        self.progress = Progress()
        self.stop = StopRequest()
        self.random_at_start = randomness.capture()  # of the current epoch
        self.random_now = self.random_at_start

    # -- the loop ------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Train until all epochs are done. Ctrl-C saves `last.pt` and raises Interrupted."""
        with self.stop.listening():
            try:
                while self.progress.epoch < self.settings.epochs:
                    started = time.perf_counter()
                    self.train_epoch()
                    self.finish_epoch(started)
            except Interrupted:
                self.save("last.pt")
                raise

    def train_epoch(self) -> None:
        progress = self.progress
        self.train_images.epoch = progress.epoch
        self.model.train()
        if progress.steps == 0:
            self.random_at_start = randomness.capture()
        batches = self.batches_to_do()
        bar = self.bar(f"epoch {progress.epoch + 1}/{self.settings.epochs}", progress.steps)
        with bar:
            for images, labels in batches:
                self.step(images, labels)
                bar.update()
                bar.set_postfix(loss=f"{progress.loss_sum / progress.seen:.4f}", refresh=False)
                if self.stop.made:
                    self.random_now = randomness.capture()
                    raise Interrupted
        self.random_now = randomness.capture()

    def step(self, images: Any, labels: Any) -> None:
        """One step: forward, loss, backward, update."""
        outputs = self.model(images)
        loss = self.loss(outputs, labels)
        self.optimizer.zero_grad()
        loss.backward()
        if self.settings.clip_grad is not None:
            clip_grad_norm_(self.model.parameters(), self.settings.clip_grad)
        self.optimizer.step()
        if isinstance(self.schedule, lr_scheduler.OneCycleLR):
            self.schedule.step()
        progress, value = self.progress, loss.item()
        if not math.isfinite(value):
            where = f"epoch {progress.epoch + 1}, step {progress.steps + 1}"
            raise UserError(f"the loss is {value} in {where}; a smaller --lr or --clip-grad may help")
        progress.steps += 1
        progress.seen += len(labels)
        progress.loss_sum += value * len(labels)
        progress.correct += int((outputs.argmax(1) == labels).sum().item())

    def batches_to_do(self) -> Iterator:
        """Return this epoch's batches; of one that was interrupted, those that are left.

        The random states are put back first to what they were when the epoch began, so that the order is the
        same, and then to what they were after the last step.
        """
        if self.progress.steps == 0:
            return iter(self.train_loader)
        randomness.restore(self.random_at_start)
        batches = iter(self.train_loader)
        for _ in range(self.progress.steps):
            next(batches)
        randomness.restore(self.random_now)
        return batches

    def finish_epoch(self, started: float) -> None:
        """Validate, step the schedule, keep the best network, write the metrics and the checkpoints."""
        progress = self.progress
        lr = self.optimizer.param_groups[0]["lr"]
        metrics = {
            "epoch": progress.epoch + 1,
            "lr": lr,
            "train_loss": progress.loss_sum / progress.seen,
            "train_accuracy": progress.correct / progress.seen,
        }
        part = "train"
        if self.val_loader is not None:
            bar = self.bar("validating", 0, self.val_loader)
            result = evaluate(self.model, self.val_loader, self.loss, bar, self.stop)
            metrics |= {"val_loss": result.loss, "val_accuracy": result.accuracy}
            part = "val"
        if not isinstance(self.schedule, lr_scheduler.OneCycleLR):
            self.schedule.step()
        accuracy, loss = metrics[f"{part}_accuracy"], metrics[f"{part}_loss"]
        images = len((self.val_loader or self.train_loader).dataset)
        improved = as_good_as(accuracy, progress.best, images)
        if improved:
            progress.best, progress.best_loss = max(accuracy, progress.best), loss
            progress.best_epoch = progress.epoch + 1
        best = {"best": progress.best, "best_loss": progress.best_loss, "best_epoch": progress.best_epoch}
        self.progress = Progress(progress.epoch + 1, **best)
        metrics["seconds"] = round(time.perf_counter() - started, 3)
        append_metrics(self.folder, metrics)
        if improved:
            self.save("best.pt")
        self.save("last.pt")
        log.info(describe(metrics, self.settings.epochs, improved))

    def bar(self, title: str, done: int, loader: DataLoader | None = None) -> tqdm:
        total = len(loader or self.train_loader)
        hidden = None if self.settings.progress else True  # None hides it where there is no terminal
        return tqdm(total=total, initial=done, desc=title, leave=False, disable=hidden, dynamic_ncols=True)

    # -- checkpoints ---------------------------------------------------------------------------------------------

    def save(self, name: str) -> None:
        training = {
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "progress": asdict(self.progress),
            "random_at_start": self.random_at_start,
            "random_now": self.random_now,
        }
        Checkpoint(self.settings.to_dict(), self.classes, self.preprocessing, self.model.state_dict(), training).write(
            self.folder / name
        )

    def restore(self, checkpoint: Checkpoint) -> None:
        """Continue where a checkpoint was written."""
        training = checkpoint.training
        self.model.load_state_dict(checkpoint.model)
        self.optimizer.load_state_dict(training["optimizer"])
        self.schedule.load_state_dict(training["schedule"])
        self.progress = Progress(**training["progress"])
        self.random_at_start = training["random_at_start"]
        self.random_now = training["random_now"]
        randomness.restore(self.random_now)


def evaluate(
    model: Module, loader: DataLoader, loss: Module, bar: tqdm | None = None, stop: StopRequest | None = None
) -> Result:
    """Run the network over a loader without training it. Raises Interrupted where a stop is asked for."""
    was_training = model.training
    model.eval()
    total, labels, predictions = 0.0, [], []
    with no_grad():
        for images, targets in loader:
            outputs = model(images)
            total += loss(outputs, targets).item() * len(targets)
            labels.append(targets.numpy())
            predictions.append(outputs.argmax(1).numpy())
            if bar is not None:
                bar.update()
            if stop is not None and stop.made:
                raise Interrupted
    if bar is not None:
        bar.close()
    model.train(was_training)
    return Result(total / sum(map(len, labels)), np.concatenate(labels), np.concatenate(predictions))


def make_optimizer(settings: TrainSettings, model: Module) -> optim.Optimizer:
    parameters, lr, decay = model.parameters(), settings.learning_rate, settings.weight_decay
    match settings.optimizer:
        case "sgd":
            return optim.SGD(parameters, lr, momentum=settings.momentum, weight_decay=decay)
        case "rmsprop":
            return optim.RMSprop(parameters, lr, momentum=settings.momentum, weight_decay=decay)
        case "adam":
            return optim.Adam(parameters, lr, weight_decay=decay)
        case "adamw":
            return optim.AdamW(parameters, lr, weight_decay=decay)
        case "adagrad":
            return optim.Adagrad(parameters, lr, weight_decay=decay)
    raise ValueError(settings.optimizer)


def make_schedule(settings: TrainSettings, optimizer: optim.Optimizer, steps: int) -> lr_scheduler.LRScheduler:
    """Return the schedule: onecycle is stepped after every step, the others after every epoch."""
    match settings.schedule:
        case "constant":
            return lr_scheduler.ConstantLR(optimizer, factor=1.0, total_iters=0)
        case "step":
            return lr_scheduler.StepLR(optimizer, settings.step_epochs, settings.step_gamma)
        case "cosine":
            return lr_scheduler.CosineAnnealingLR(optimizer, settings.epochs)
        case "onecycle":
            return lr_scheduler.OneCycleLR(
                optimizer, settings.learning_rate, epochs=settings.epochs, steps_per_epoch=steps
            )
    raise ValueError(settings.schedule)


def describe(metrics: dict[str, Any], epochs: int, improved: bool) -> str:
    text = (
        f"epoch {metrics['epoch']}/{epochs}  lr {metrics['lr']:.2g}  "
        f"loss {metrics['train_loss']:.4f}  accuracy {metrics['train_accuracy']:.2%}"
    )
    if "val_loss" in metrics:
        text += f"  val loss {metrics['val_loss']:.4f}  val accuracy {metrics['val_accuracy']:.2%}"
    return f"{text}  {metrics['seconds']:.1f} s" + ("  (best)" if improved else "")


def as_good_as(accuracy: float, best: float, images: int) -> bool:
    """Whether an accuracy on so many images cannot be told from the best one: at most its standard error below.

    Of networks that are equally good the one that was trained longer is kept (the one-standard-error rule of Breiman et
    al., 1984): with a hundred validation images the highest accuracy is mostly luck.
    """
    return accuracy >= best - math.sqrt(max(best * (1 - best), 0.0) / images) if math.isfinite(best) else True
