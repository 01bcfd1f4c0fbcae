"""Freeze the layers that are not trained. The setting `tuning` says which layers are trained."""

from timm.models import group_parameters

from components.shared.errors import InputError
from components.shared.network.network import Network


def freeze(network: Network, tuning: str) -> None:
    """Freeze all parameters of a network except those that `tuning` names.

    Args:
        network: The network. It is changed in place.
        tuning: "full", "head_only", or "last_N" for the head and the last N blocks. timm defines the blocks.

    Raises:
        InputError: The network has fewer than N blocks.
    """
    network.requires_grad_(tuning == "full")
    for head in network.heads:
        head.requires_grad_(True)
    if not tuning.startswith("last_"):
        return

    block_of = group_parameters(network.backbone, network.backbone.group_matcher(coarse=False), reverse=True)
    last_block = max(block_of.values())
    first_trained = last_block - int(tuning.removeprefix("last_"))
    if first_trained < 0:
        raise InputError(
            f"tuning is {tuning}, but {network.info.architecture} has only {last_block} blocks; choose at most "
            f"last_{last_block}"
        )
    for name, parameter in network.backbone.named_parameters():
        parameter.requires_grad_(block_of[name] >= first_trained)


def set_training(network: Network) -> None:
    """Set the trained modules to training mode, and all frozen modules to eval mode.

    In eval mode, the normalisation statistics of a frozen block do not change, and the block applies no dropout.
    """
    network.train()
    for module in network.modules():
        parameters = list(module.parameters())
        if parameters and not any(parameter.requires_grad for parameter in parameters):
            module.eval()
