"""Write a queue for programs in which people annotate images, and read what people answered there."""
