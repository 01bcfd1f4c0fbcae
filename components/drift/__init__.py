"""The drift step: whether the robustness split looks like what the network was trained on."""
