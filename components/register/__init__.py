"""Register the winner as challenger, or record why nobody won."""
