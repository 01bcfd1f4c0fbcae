"""Tables about the list of corrections, for the terminal."""

from collections import Counter

from rich.table import Table

from components.shared.data.corrections import SHOWN_ID, Entry, standing_answers


def entries_table(entries: list[Entry]) -> Table:
    """Return a table of all entries: what each entry changed, and whether it was rolled back."""
    rolled_back = {entry.rolls_back: entry for entry in entries if entry.rolls_back}
    table = Table(title="Corrections", title_justify="left")
    for title in ("ID", "UTC", "by", "signed", "what", "why", "state"):
        table.add_column(title, no_wrap=title == "ID")

    for entry in entries:
        if entry.rolls_back:
            what, state = f"rolls back {entry.rolls_back[:SHOWN_ID]}", ""
        else:
            what, state = _answers(entry), "active"
        if entry.id in rolled_back:
            state = f"rolled back by {rolled_back[entry.id].by}"
        is_signed = "yes" if entry.signature else "no"
        row = [entry.id[:SHOWN_ID], entry.at[:16].replace("T", " "), entry.by, is_signed, what, entry.why, state]
        table.add_row(*row)
    return table


def disputes_table(entries: list[Entry]) -> Table:
    """Return a table of the tiles about which people disagree."""
    table = Table(title="People disagree, so no answer is applied", title_justify="left")
    for title in ("tile", "by", "answer", "import"):
        table.add_column(title)
    for one in standing_answers(entries).disputed.itertuples():
        table.add_row(one.tile, one.by, one.answer, one.entry[:SHOWN_ID])
    return table


def _answers(entry: Entry) -> str:
    counts = Counter(f"{answer.old} → {answer.new}" for answer in entry.answers if answer.old != answer.new)
    confirmed = sum(answer.old == answer.new for answer in entry.answers)
    parts = [f"{number} {change}" for change, number in sorted(counts.items())]
    return ", ".join([*parts, f"{confirmed} confirmed"])
