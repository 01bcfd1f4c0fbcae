"""The register step and the refuse step. They register the winner as challenger, or record why there is no winner."""
