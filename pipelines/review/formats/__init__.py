"""Write a queue for programs in which people annotate images, and read people's answers from these programs."""
