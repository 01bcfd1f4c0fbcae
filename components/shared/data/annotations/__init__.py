"""Read files with the boxes, polygons, lines, masks and classes that people drew on photos and tiles."""
