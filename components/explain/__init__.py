"""The explain step: draw where a network looks, and measure whether that is the crack."""
