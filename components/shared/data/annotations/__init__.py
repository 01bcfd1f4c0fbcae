"""Read what people drew on photos and tiles: boxes, polygons, lines, masks and classes, in the usual formats."""
