"""The page with the training curves."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib.figure import Figure

from components.shared.page import Page
from components.train.task import Task, TrainingRecord


def write_training_page(record: TrainingRecord, task: Task, folder: Path) -> None:
    """Write what was trained, how long it took, and the curves.

    Args:
        record: What happened.
        task: What was trained.
        folder: Gets training.html and curves.png.
    """
    config, n_train, n_val = task.config, len(task.train), len(task.val)
    figure = _curves(record)
    figure.savefig(folder / "curves.png", dpi=120)
    page = Page(f"Training: {config.candidate} ({config.architecture})")
    started_from = "random weights" if config.weights == "none" else f"pretrained weights ({config.weights})"
    trained = {"full": "all layers", "head_only": "the head only"}.get(
        config.tuning, f"the head and the last {config.tuning.removeprefix('last_')} blocks"
    )
    done = int(record.history[-1]["step"])
    passes = done * config.batch_size / n_train
    early = f" of {record.steps}, which early stopping ended," if done < record.steps else ""
    again = f" It was taken up again after step {', '.join(map(str, record.resumed_at))}." if record.resumed_at else ""
    parts = f" Each batch was taken in {record.parts} parts for want of memory." if record.parts > 1 else ""
    page.text(
        f"{config.architecture} at {config.input_size} px from {started_from}, {trained} trained for {done} steps"
        f"{early} of {config.batch_size} images ({passes:.1f} passes over {n_train} images), in "
        f"{record.training_seconds:.0f} s on {record.devices} {record.device} in {record.precision} at "
        f"{record.images_per_second:.0f} images/s, {record.data_wait_share:.0%} of the time waiting for images. The "
        f"weights kept are those of step {record.best_step}, where the loss on {n_val} validation images was "
        f"lowest.{again}{parts}"
    )
    page.figure(figure, "Loss and accuracy during training", "training and validation curves")
    page.write(folder / "training.html")


def _curves(record: TrainingRecord) -> Figure:
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    steps = [entry["step"] for entry in record.history]
    for name, label in (("train_loss", "training (smoothed labels, augmented)"), ("val_loss", "validation")):
        left.plot(steps, [entry[name] for entry in record.history], marker="o", label=label)
    left.set(xlabel="step", ylabel="cross-entropy (nats)", ylim=(0, None))
    right.plot(steps, [entry["val_accuracy"] for entry in record.history], marker="o", color="tab:green")
    right.set(xlabel="step", ylabel="validation accuracy", ylim=(None, 1.005))
    for axes in (left, right):
        axes.axvline(record.best_step, color="grey", linestyle=":", linewidth=1)
        axes.grid(alpha=0.3)
    left.legend(frameon=False)
    return figure
