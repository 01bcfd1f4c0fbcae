import cv2
import numpy as np

from components.train.contact_sheet import GAP, TILES_PER_CLASS, VIEWS, draw_contact_sheet


def test_a_sheet_has_a_row_for_each_tile_and_depends_on_the_task_only(make_task):
    task = make_task(augment=({"Solarize": {"threshold_range": [0.01, 0.01], "p": 1}},))
    jpeg = draw_contact_sheet(task)
    assert jpeg == draw_contact_sheet(task)

    sheet = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    side = task.info.input_size + 2 * GAP
    assert sheet.shape == (2 * TILES_PER_CLASS * side, (1 + VIEWS) * side, 3)
    tile, view = sheet[:side, :side].astype(int), sheet[:side, side : 2 * side].astype(int)
    inside = slice(GAP + 1, -GAP - 1)
    assert np.abs(tile + view - 255)[inside, inside].mean() < 12  # the augmentation inverts the grey values
