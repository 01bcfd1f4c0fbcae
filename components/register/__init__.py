"""The register step: register the winner as challenger, or record why there is no winner."""
