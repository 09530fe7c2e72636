"""The training loss: true labels, and the dense network's opinion."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def distillation(student: Tensor, teacher: Tensor | None, labels: Tensor, share: float, temperature: float) -> Tensor:
    """Return `(1 - share) CE(student, labels) + share T^2 KL(teacher_T || student_T)`, both over `[batch, classes]`.

    Hinton et al. 2015, arXiv 1503.02531, section 2; T^2 keeps the gradients' size independent of T.
    """
    truth = functional.cross_entropy(student, labels)
    if teacher is None or share == 0:
        return truth
    soft = functional.kl_div(
        functional.log_softmax(student / temperature, 1),
        functional.log_softmax(teacher / temperature, 1),
        reduction="batchmean",
        log_target=True,
    )
    return (1 - share) * truth + share * temperature**2 * soft
