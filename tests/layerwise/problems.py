"""A layer with correlated inputs, and least squares by torch.linalg.lstsq."""

import torch


def correlated(rows=6, columns=12, samples=60, seed=0):
    """(weights (rows, columns), inputs (samples, columns)): directions of the inputs differ a hundredfold in size."""
    generator = torch.Generator().manual_seed(seed)
    mixed = torch.randn(columns, columns, generator=generator, dtype=torch.float64)
    sizes = torch.logspace(0, -2, columns, dtype=torch.float64)
    inputs = torch.randn(samples, columns, generator=generator, dtype=torch.float64) * sizes @ mixed
    return torch.randn(rows, columns, generator=generator, dtype=torch.float64), inputs


def solved(row, inputs, kept):
    """The best `row` for the outputs inputs @ row with zeros where not `kept`, and its squared error."""
    found, outputs = torch.zeros_like(row), inputs @ row
    found[kept] = torch.linalg.lstsq(inputs[:, kept], outputs[:, None]).solution[:, 0]
    return found, float((inputs @ found - outputs).square().sum())


def greedy(row, inputs, keep):
    """Brute force: the entry whose removal costs least, all others solved for anew, until `keep` are left."""
    kept = torch.ones_like(row, dtype=torch.bool)
    while int(kept.sum()) > keep:
        trials = {}
        for index in kept.nonzero()[:, 0].tolist():
            trial = kept.clone()
            trial[index] = False
            trials[index] = solved(row, inputs, trial)[1]
        kept[min(trials, key=trials.get)] = False
    return kept
