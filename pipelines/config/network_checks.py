"""Check the candidates' networks before a run starts. Otherwise, the train step would find an error much later."""

from importlib.util import find_spec

from components.shared.events import log
from components.train.config import TrainConfig
from components.train.licence import checked_licence
from pipelines.config.run_config import RunConfig


def check_networks(config: RunConfig) -> None:
    """Check every candidate before a run on this machine: augmentation, architecture, settings, weights and licence.

    Each network is built and run on three tiles. If its weights are on this machine, in a file or in the hub's local
    cache, the network gets these weights. Other weights are not downloaded. We only check that they exist.

    Raises:
        InputError: A network cannot be trained with its settings, or its weights cannot be used or reached.
    """
    check_augmentations(config)
    from components.train.dry_run import check_compiler  # late: torch takes seconds to import

    for train in _trainings(config).values():
        check_compiler(train)
        _check_network(train, config.seed)


def check_networks_for_cluster(config: RunConfig) -> None:
    """Check every candidate before a run on a cluster. This machine may be unable to do some of the checks.

    If this machine cannot reach some weights, there is only a warning, because a pod may reach them. If PyTorch is not
    installed, this function checks only two things: the augmentations, and the weights that do not come from the hub.

    Raises:
        InputError: A network cannot be trained with its settings, or its weights cannot be used.
    """
    check_augmentations(config)
    from components.shared.network.weights import UnreachableWeightsError, reach_weights

    has_pytorch = find_spec("timm") is not None
    for name, train in _trainings(config).items():
        try:
            if has_pytorch:
                _check_network(train, config.seed)
            elif train.weights not in ("none", "hub"):
                checked_licence(train)
                reach_weights(train.architecture, train.weights)
        except UnreachableWeightsError as error:
            log.warning("candidate %s: its weights were not checked: %s", name, error)


def _trainings(config: RunConfig) -> dict[str, TrainConfig]:
    """Return a dict: name of a candidate -> configuration of its train step."""
    allowed = {"weights_licences": config.weights_licences}
    return {name: candidate.train.model_copy(update=allowed) for name, candidate in config.candidates.items()}


def check_augmentations(config: RunConfig) -> None:
    """Build every candidate's augmentation and try it on a tile.

    Raises:
        InputError: A transform is unknown, has a wrong argument, or cannot be used on tiles.
    """
    from components.train.augmentation import check_augmentation  # late: Albumentations takes a second to import

    for candidate in config.candidates.values():
        check_augmentation(candidate.train)


def _check_network(train: TrainConfig, seed: int) -> None:
    """Try the network with its weights.

    If these weights are not on this machine, try the network with random weights, and only check that the real weights
    can be reached.
    """
    from components.shared.network.network import check_architecture  # late: torch takes seconds to import
    from components.shared.network.weights import on_this_machine, reach_weights
    from components.train.dry_run import describe_network, try_network

    check_architecture(train.architecture)
    checked_licence(train)
    if on_this_machine(train.architecture, train.weights):
        try_network(describe_network(train, seed), train)
        return

    random = train.model_copy(update={"weights": "none"})
    try_network(describe_network(random, seed), random)
    reach_weights(train.architecture, train.weights)
