"""Write the page about a training, with the training and validation curves."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib.figure import Figure

from components.shared.page import Page
from components.train.contact_sheet import draw_contact_sheet
from components.train.task import Task, TrainingRecord


def write_training_page(record: TrainingRecord, task: Task, folder: Path) -> None:
    """Write a page about a training. It says what was trained and how long it took, and shows curves and tiles.

    Args:
        record: What happened during the finished training.
        task: The network, data and settings of the training.
        folder: Folder for training.html, curves.png and augmentation.jpg.
    """
    figure = _draw_curves(record)
    figure.savefig(folder / "curves.png", dpi=120)
    sheet = draw_contact_sheet(task)
    (folder / "augmentation.jpg").write_bytes(sheet)

    page = Page(f"Training: {task.config.candidate} ({task.config.architecture})")
    page.text(_summary(record, task))
    page.figure(
        figure,
        "Loss and accuracy during the training. The loss (cross-entropy) measures how wrong the answers are, and 0 is "
        "best. Accuracy is the share of right answers. The dotted line marks the step whose weights were saved",
        "training and validation curves",
    )
    page.image(sheet, _augmentation_caption(task), "training tiles, with augmented views to their right")
    page.write(folder / "training.html")


def _summary(record: TrainingRecord, task: Task) -> str:
    config = task.config
    steps_done = int(record.history[-1]["step"])
    passes = steps_done * config.batch_size / len(task.train)

    sentences = [
        f"{config.architecture} at {config.input_size} px started from {task.info.initial_weights}. "
        f"Tiles were {task.info.preprocessing}.",
        f"{_trained_layers(config.tuning)} trained for {steps_done} steps of {config.batch_size} tiles. So "
        f"each of the {len(task.train)} tiles of the training split was used {passes:.1f} times on average.",
        f"The training took {record.training_seconds:.0f} s on {record.devices} {record.device} in {record.precision}, "
        f"at {record.images_per_second:.0f} tiles/s. For {record.data_wait_share:.0%} of the time, the device waited "
        "for tiles.",
        f"The weights after step {record.best_step} were saved, because they had the lowest loss on the "
        f"{len(task.val)} validation tiles.",
    ]
    if steps_done < record.steps:
        sentences.append(f"Early stopping ended the training before all {record.steps} steps were done.")
    if record.resumed_at:
        sentences.append(f"The training was resumed after step {', '.join(map(str, record.resumed_at))}.")
    if record.parts > 1:
        sentences.append(
            f"A device's share of a batch was split into {record.parts} parts, because the memory was too small."
        )
    return " ".join(sentences)


def _augmentation_caption(task: Task) -> str:
    names = ", ".join(name for item in task.config.augment for name in item) or "nothing"
    return (
        f"Augmentation changes the training tiles at random. The first image of each row is a training tile. The "
        f"other images show what the network gets: the same tile after {names}"
    )


def _trained_layers(tuning: str) -> str:
    if tuning == "full":
        return "All layers were"
    if tuning == "head_only":
        return "Only the head was"
    return f"The head and the last {tuning.removeprefix('last_')} blocks were"


def _draw_curves(record: TrainingRecord) -> Figure:
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    loss_axes, accuracy_axes = figure.subplots(1, 2)
    steps = [entry["step"] for entry in record.history]

    for name, label in (("train_loss", "training (smoothed labels, augmented)"), ("val_loss", "validation")):
        loss_axes.plot(steps, [entry[name] for entry in record.history], marker="o", label=label)
    loss_axes.set(xlabel="step", ylabel="cross-entropy (nats)", ylim=(0, None))
    loss_axes.legend(frameon=False)

    accuracy_axes.plot(steps, [entry["val_accuracy"] for entry in record.history], marker="o", color="tab:green")
    accuracy_axes.set(xlabel="step", ylabel="validation accuracy", ylim=(None, 1.005))

    for axes in (loss_axes, accuracy_axes):
        axes.axvline(record.best_step, color="grey", linestyle=":", linewidth=1)
        axes.grid(alpha=0.3)
    return figure
