"""Learning from a teacher: the loss is the distance to a bigger network's answers."""

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, softmax

from prunus.training import Loss


def distillation(teacher: nn.Module, temperature: float) -> Loss:
    """A training loss: the cross-entropy between the teacher's and the student's softened answers.

    Teacher and student see the same (augmented) inputs (B, ...); labels are not looked at. Logits are divided by
    `temperature` T and the loss is multiplied by T, which keeps the gradient's size. Source: Hinton, Vinyals &
    Dean 2015, "Distilling the knowledge in a neural network", section 2.
    """
    teacher.eval()

    def loss(student: nn.Module, inputs: Tensor, labels: Tensor) -> Tensor:
        with torch.no_grad():
            targets = softmax(teacher(inputs) / temperature, dim=1)  # (B, classes)
        return temperature * cross_entropy(student(inputs) / temperature, targets)

    return loss
