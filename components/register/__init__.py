"""The steps register and refuse. They register the winner as challenger, or record why there is no winner."""
