"""Model-agnostic meta-learning: the inner loop, differentiable, over all parameters or over some of them."""

import copy
import math
from dataclasses import asdict, dataclass
from itertools import permutations
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn import functional

from adakern.models import AkmNetwork, AkmNetworkConfig
from adakern.models.akm_network import check_convs, is_kernel_parameter
from adakern.models.weights_file import WeightsFile, inconsistent
from adakern_spec.errors import AdakernError, InputError

from .episodes import Episodes
from .settings import check_ranges

FORMAT = "adakern-meta-learner"

Scope = Literal["all", "kernel+head", "kernel", "head"]
"""What the inner loop changes: every parameter; r, s and classifier; r and s alone; the classifier alone."""

SCOPES: tuple[Scope, ...] = ("all", "kernel+head", "kernel", "head")

MOST_WAYS = 7
"""Classes of a task for r and s alone: all orders of them are tried."""

HEAD = "classifier."
"""Parameters of the classifier begin with this."""

Parameters = dict[str, Tensor]


@dataclass(frozen=True)
class InnerLoop:
    """Adaptation to one task; JSON-serialisable.

    ``steps`` of gradient descent on the support set's cross-entropy over the parameters in ``scope``.
    ``first_order`` leaves the second derivatives out of meta-training. What the learned step sizes
    start from: ``rate`` for convolutions, ``r_rate`` and ``s_rate``, ``head_rate`` for the classifier's first
    step, from zero, and ``later_head_rate`` for those behind it.
    """

    scope: Scope = "all"
    steps: int = 2
    first_order: bool = False
    rate: float = 0.003
    r_rate: float = 0.3
    s_rate: float = 0.3
    head_rate: float = 20.0
    later_head_rate: float = 0.3

    def __post_init__(self) -> None:
        if self.scope not in SCOPES:
            raise InputError(f"scope {self.scope!r}", "inner loop", "use " + ", ".join(SCOPES))
        if self.steps < 1:
            raise InputError(f"{self.steps} steps", "inner loop", "use 1 or more")
        check_ranges(self, "inner loop", ("rate", "r_rate", "s_rate", "head_rate", "later_head_rate"))

    @classmethod
    def of(cls, scope: Scope, steps: int = 2, first_order: bool = False) -> "InnerLoop":
        """With step sizes from which learning starts well: those learned on Omniglot, rounded.

        Where r and s adapt alone they have to do what else the classifier does, in far longer steps.
        """
        alone = {"r_rate": 5.0, "s_rate": 500.0} if scope == "kernel" else {}
        return cls(scope, steps, first_order, **alone)

    @property
    def adapts_head(self) -> bool:
        return self.scope != "kernel"

    def covers(self, name: str) -> bool:
        """Whether the inner loop changes the parameter of this name."""
        if name.startswith(HEAD):
            return self.adapts_head
        return self.scope == "all" or (self.scope.startswith("kernel") and is_kernel_parameter(name))

    def starting_rates(self, name: str) -> list[float]:
        """Step sizes that learning starts from, one per step."""
        if name.startswith(HEAD):
            return [self.head_rate] + [self.later_head_rate] * (self.steps - 1)
        rates = {"r": self.r_rate, "s": self.s_rate} if is_kernel_parameter(name) else {}
        return [rates.get(name.rpartition(".")[2], self.rate)] * self.steps

    def to_json(self) -> dict[str, Any]:
        """Plain values, as json.dumps takes them."""
        return asdict(self)


class MetaLearner(nn.Module):
    """A network and the inner loop that adapts it; both are what meta-training learns.

    Parameters: the network's, and one step size per adapted parameter tensor and inner step, as its
    logarithm (MAML++'s "per-layer per-step" rates, Antoniou et al. 2019).

    Where the inner loop adapts the classifier, every task's classifier starts at zero, with as many
    classes as the task has: no order of the classes is built in, so any number of ways fits, and what
    Ye and Chao 2022 ("UNICORN-MAML") learn as one vector for all classes shifts all scores alike and
    drops out of the softmax. At that start the classifier is the only part with a gradient, so the
    first step computes its alone.

    With scope "kernel" the classifier is learned and stays. Which output stands for which of a task's
    classes is then the host's to say, and it takes the assignment under which the network as it is has
    the smallest loss on the support set (`outputs`); r and s do the rest.

    Raises InputError where the scope finds nothing to adapt, ShapeError for a network whose convolutions are
    not its configuration's. Source: Finn et al. 2017, "MAML".
    """

    def __init__(self, network: AkmNetwork, loop: InnerLoop) -> None:
        super().__init__()
        check_convs(network)
        self.network = network
        self.loop = loop
        names = [name for name, _ in network.named_parameters() if loop.covers(name)]
        if not any(is_kernel_parameter(name) for name in names) and loop.scope.startswith("kernel"):
            raise InputError(
                "a network without r and s",
                f"inner loop over {loop.scope}",
                "use an AKM network or scope all or head",
            )
        self.log_rates = nn.ParameterDict(
            # ParameterDict takes no dots in a name.
            {_key(name): torch.tensor(list(map(math.log, loop.starting_rates(name)))) for name in names}
        )
        if loop.adapts_head:
            for parameter in network.classifier.parameters():
                nn.init.zeros_(parameter).requires_grad_(False)

    def start(self, ways: int) -> Parameters:
        """Parameters that a task of so many classes starts from.

        Raises InputError where the learned classifier has another number of classes.
        """
        parameters: Parameters = dict(self.network.named_parameters())
        if self.loop.adapts_head:
            weight = self.network.classifier.weight
            parameters[f"{HEAD}weight"] = weight.new_zeros(ways, weight.shape[1])
            parameters[f"{HEAD}bias"] = weight.new_zeros(ways)
        elif ways != self.network.config.classes:
            raise InputError(
                f"{ways} classes for a classifier of {self.network.config.classes}",
                "adaptation of r and s alone",
                f"use {self.network.config.classes}",
            )
        elif ways > MOST_WAYS:
            raise InputError(f"{ways} classes", "adaptation of r and s alone", f"use {MOST_WAYS} at most")
        return parameters

    def outputs(self, parameters: Parameters, images: Tensor, labels: Tensor) -> Tensor:
        """Output that stands for each class of a support set, int64 [ways]; the classes in their order where
        the classifier adapts."""
        ways = len(parameters[f"{HEAD}bias"])
        if self.loop.adapts_head:
            return torch.arange(ways)
        with torch.no_grad():
            fits = functional.log_softmax(functional_call(self.network, parameters, (images,)), dim=1)
            # Sums over each class's images: [class, output].
            of_classes = (labels == torch.arange(ways)[:, None]).to(fits.dtype) @ fits
            orders = torch.tensor(list(permutations(range(ways))))
            likelihoods = of_classes[torch.arange(ways), orders].sum(dim=1)
            return orders[likelihoods.argmax()]

    def adapted(self, parameters: Parameters, images: Tensor, labels: Tensor) -> Parameters:
        """Parameters after the inner loop on one support set; differentiable in the parameters and rates.

        ``images`` [S, C, H, L], ``labels`` [S].
        """

        def loss(changed: Parameters, fixed: Parameters) -> Tensor:
            scores = functional_call(self.network, fixed | changed, (images,))
            return functional.cross_entropy(scores, labels)

        for step in range(self.loop.steps):
            changed = {
                name: value
                for name, value in parameters.items()
                if self.loop.covers(name) and (step > 0 or not self.loop.adapts_head or name.startswith(HEAD))
            }
            slopes = grad(loss)(changed, parameters)
            if self.loop.first_order:
                slopes = {name: slope.detach() for name, slope in slopes.items()}
            parameters = parameters | {
                name: value - self.log_rates[_key(name)][step].exp() * slopes[name]
                for name, value in changed.items()
            }
        return parameters

    def query(self, episodes: Episodes) -> tuple[Tensor, Tensor]:
        """Query loss and share of right answers after adaptation, [T] each; the tasks run in parallel."""
        start = self.start(int(episodes.support_labels.max()) + 1)

        def task(support: Tensor, query: Tensor) -> tuple[Tensor, Tensor]:
            outputs = self.outputs(start, support, episodes.support_labels)
            adapted = self.adapted(start, support, outputs[episodes.support_labels])
            scores = functional_call(self.network, adapted, (query,))
            wanted = outputs[episodes.query_labels]
            right = scores.argmax(dim=1) == wanted
            return functional.cross_entropy(scores, wanted), right.float().mean()

        losses, accuracies = vmap(task)(episodes.support, episodes.query)
        return losses, accuracies

    def adapt(self, images: Tensor, labels: Tensor) -> tuple[AkmNetwork, list[int]]:
        """A network of its own, adapted to a support set, and the label that each of its outputs stands for.

        ``images`` [S, C, H, L], ``labels`` [S] from 0 up. The outputs are the labels in order but where r and
        s adapt alone (`outputs`).
        Raises InputError for a class without an image and a single class, AdakernError where adaptation
        diverges.
        """
        ways = int(labels.max()) + 1
        if ways < 2:
            raise InputError("images of a single class", "support set", "give two classes or more")
        if len(labels.unique()) != ways:
            raise InputError(
                f"{len(labels.unique())} of {ways} classes have images", "support set", "give some to each"
            )
        start = self.start(ways)
        outputs = self.outputs(start, images, labels)
        with torch.no_grad():
            adapted = self.adapted(start, images, outputs[labels])
        network = AkmNetwork(AkmNetworkConfig.from_json(self.network.config.to_json() | {"classes": ways}))
        network.load_state_dict(adapted)
        for name, value in adapted.items():
            if not torch.isfinite(value).all():
                raise AdakernError(f"{name} is not finite", "adaptation", "check the support images")
        return network.eval(), outputs.argsort().tolist()

    def save(self, path: Path) -> None:
        """Write network, inner loop and step sizes in one safetensors file, atomically."""
        config = {"network": self.network.config.to_json(), "loop": self.loop.to_json()}
        WeightsFile(config, self.state_dict()).save(path, FORMAT)

    @classmethod
    def load(cls, path: Path) -> "MetaLearner":
        """Raises ArtifactError: absent, truncated, another format, inconsistent or non-finite contents."""
        content = WeightsFile.load(path, FORMAT, "give what adakern meta-train wrote")
        try:
            network = AkmNetwork(AkmNetworkConfig.from_json(content.config["network"]))
            learner = cls(network, InnerLoop(**content.config["loop"]))
            learner.load_state_dict(content.tensors)
        except (KeyError, TypeError, ValueError, RuntimeError, AdakernError) as error:
            raise inconsistent(path, error) from None
        return learner.eval()

    def with_loop(self, loop: InnerLoop) -> "MetaLearner":
        """A learner with the same network and another inner loop.

        Step sizes that both have, by parameter and step, are kept; the others start anew. A classifier
        that the new loop does not adapt starts at random, since the old one's is zero.
        """
        network = copy.deepcopy(self.network)
        if self.loop.adapts_head and not loop.adapts_head:
            network.classifier.reset_parameters()
            network.classifier.requires_grad_(True)
        learner = MetaLearner(network, loop)
        for name, rates in learner.log_rates.items():
            if name in self.log_rates:
                known = self.log_rates[name].detach()[: loop.steps]
                rates.data[: len(known)] = known
        return learner


def _key(name: str) -> str:
    return name.replace(".", "/")
