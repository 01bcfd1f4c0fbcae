"""Read the requests to a served model, and refuse those that are a mistake or an attack.

The server process loads this file by its path (see served_http.py), so this file imports nothing from the project.
"""

import csv
import io
import json
from collections.abc import MutableMapping
from itertools import islice
from typing import Any

Scope = MutableMapping[str, Any]

MB = 2**20
MAX_BODY_BYTES = 32 * MB  # base64 of 24 MB of image files
MAX_IMAGES = 1024  # largest number in one request; without this limit, one request could take an hour
# MLflow would also read Parquet, in which a few bytes can stand for many gigabytes.
CONTENT_TYPES = ("application/json", "text/csv")
FORMS = ("dataframe_split", "dataframe_records", "inputs", "instances")  # the forms of a request in MLflow's JSON
EXAMPLE = '{"inputs": {"image": [base64, …]}}'
ERROR = 400
TOO_LARGE = 413
TOO_LARGE_SENTENCE = f"the request is larger than {MAX_BODY_BYTES // MB} MB; send fewer or smaller images at once"


class RefusedError(Exception):
    """The guard refuses the request. The arguments are the HTTP status and a sentence for the client."""


def content_type(scope: Scope) -> str:
    """Return the content type of a request, or raise RefusedError if it is not one of CONTENT_TYPES in UTF-8."""
    given = dict(scope["headers"]).get(b"content-type", b"").decode("latin-1").strip().lower()
    kind, _, parameters = given.partition(";")
    if kind.strip() not in CONTENT_TYPES or parameters.strip() not in ("", "charset=utf-8"):
        raise RefusedError(415, f"the content type is {given or 'missing'}; send one of {', '.join(CONTENT_TYPES)}")
    return kind.strip()


def check_announced(scope: Scope, most: int) -> None:
    """Refuse a request whose headers already show that it cannot be answered.

    A client that sends `Expect` waits for our response before it sends the body. Many other clients read our response
    only after they have sent their whole body, so we let them send a body that we refuse, if it has at most `most`
    bytes.
    """
    headers = dict(scope["headers"])
    encoding = headers.get(b"content-encoding", b"identity").decode("latin-1").strip().lower()
    if encoding != "identity":
        raise RefusedError(415, f"the content encoding is {encoding}; send the request without compression")

    if b"expect" in headers:
        most = MAX_BODY_BYTES
    if int(headers.get(b"content-length", b"0")) > most:
        raise RefusedError(TOO_LARGE, TOO_LARGE_SENTENCE)


def images_of(body: bytearray, kind: str) -> list[list[str | None]]:
    """Return the rows of a request. A row has one cell: base64 of an image file, or None if the cell cannot be base64.

    Raises:
        RefusedError: The request is not in one of MLflow's forms, or it has more than MAX_IMAGES images. Or a row has
            another number of cells than one.
    """
    rows = _csv_rows(body) if kind == "text/csv" else _json_rows(body)
    if len(rows) > MAX_IMAGES:
        raise RefusedError(TOO_LARGE, f"the request has more than {MAX_IMAGES:,} images; send fewer images at once")

    images: list[list[str | None]] = []
    for number, row in enumerate(rows):
        cell = row.get("image") if isinstance(row, dict) else row
        if isinstance(cell, list):
            if len(cell) != 1:
                raise RefusedError(ERROR, f"row {number} has {len(cell)} cells; send one cell, the image in base64")
            cell = cell[0]
        images.append([cell if isinstance(cell, str) and cell.isascii() else None])  # base64 is ASCII
    return images


def _csv_rows(body: bytearray) -> list[Any]:
    """Return the column image of a CSV table, but at most MAX_IMAGES + 1 cells."""
    csv.field_size_limit(MAX_BODY_BYTES)
    table = csv.reader(io.StringIO(body.decode()))
    names = next(table, [])
    if "image" not in names:
        raise RefusedError(ERROR, "the CSV table has no column image; send a table with the column image")

    if names.count("image") > 1:
        raise RefusedError(ERROR, f"the CSV table has {names.count('image')} columns image; send one")

    column = names.index("image")
    rows = islice(filter(None, table), MAX_IMAGES + 1)  # without empty lines
    return [row[column] if column < len(row) else None for row in rows]


def _json_rows(body: bytearray) -> list[Any]:
    """Return the rows of a request in one of FORMS. A row is a dict, or a list of its cells, or its only cell."""
    try:
        request = json.loads(body, parse_int=float)  # Python refuses whole numbers with many digits
    except RecursionError as error:
        raise RefusedError(ERROR, "the JSON is nested too deeply; send a flat list of images") from error
    except ValueError as error:
        raise RefusedError(ERROR, f"the request is not JSON: {error}; send {EXAMPLE}") from error
    if not isinstance(request, dict):
        raise RefusedError(ERROR, f"the request is not a JSON object; send {EXAMPLE}")

    if request.get("params"):
        raise RefusedError(ERROR, "the request has params, which this model does not use; remove them")

    forms = [form for form in FORMS if form in request]
    if len(forms) != 1:
        raise RefusedError(ERROR, f"the request has {len(forms)} of {', '.join(FORMS)}; send one, such as {EXAMPLE}")
    rows = request[forms[0]]
    if isinstance(rows, dict):
        split = forms == ["dataframe_split"] and rows.get("columns") == ["image"]
        rows = rows.get("data" if split else "image")
    if not isinstance(rows, list):
        raise RefusedError(ERROR, f"{forms[0]} has no list of the column image; send {EXAMPLE}")
    return rows
