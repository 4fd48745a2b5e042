"""A score that needs no data: how much flows through an entry from inputs to outputs."""

from torch import Tensor

from prunus.tree import Tree, zipped


def synflow(weights: Tree, flows: Tree) -> dict[str, Tensor]:
    """|w| dR/d|w|: the part of all that flows from inputs to outputs that goes through an entry.

    Idea: a score that is conserved, so that what enters a unit leaves it and all layers have the same sum, cannot empty
    a layer while another is full, if it is measured anew as weights go.
    Formula: |w dR/d|w||, where R is the sum of the outputs of the network with all parameters made positive, for an
    input of ones: a sum over paths of products of |w|.
    Source: Tanaka et al. 2020, "Pruning neural networks without any data by iteratively conserving synaptic flow",
    algorithm 1.
    Use: before training and without data, with `pruning.iterate` along `schedule.rounds(density, 100)` and
    `scope.network`; in one shot it empties layers like the others.
    Cost: a gradient of one input a round, in double precision.
    Differs: its authors compute in single precision, where deep or wide networks overflow, and their mask may exchange
    entries between rounds where scores are zero; here what has gone stays gone. BatchNorm works as in evaluation, there
    as here.
    """
    return {name: (w * flow).abs() for name, (w, flow) in zipped(weights, flows)}
