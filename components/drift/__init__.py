"""The drift step: compare the robustness split, or production images, with the network's training images."""
