"""Muon: momentum with orthogonalised updates, for matrix weights.

After Keller Jordan's Muon (MIT) with the scale of Moonlight (arXiv 2502.16982), which matches the update size of AdamW.
"""
import torch


def orthogonal(g):
    """Approximates the nearest orthogonal matrix by five Newton-Schulz steps."""
    a, b, c = 3.4445, -4.7750, 2.0315
    tall = g.shape[0] > g.shape[1]
    x = g.t() if tall else g
    x = x / (x.norm() + 1e-7)
    for _ in range(5):
        s = x @ x.t()
        x = a * x + (b * s + c * s @ s) @ x
    return x.t() if tall else x


class Muon(torch.optim.Optimizer):
    """Muon optimiser; treats convolutions as matrices of outputs by inputs."""

    def __init__(self, params, lr, momentum=0.95, weight_decay=0.1):
        super().__init__(params, dict(lr=lr, momentum=momentum, weight_decay=weight_decay))

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                g = p.grad.reshape(len(p), -1)
                m = self.state[p].setdefault("m", torch.zeros_like(g))
                m.lerp_(g, 1 - group["momentum"])
                u = orthogonal(g.lerp(m, group["momentum"]))
                p.mul_(1 - group["lr"] * group["weight_decay"])
                p.add_(u.reshape(p.shape), alpha=-group["lr"] * 0.2 * max(u.shape) ** 0.5)
