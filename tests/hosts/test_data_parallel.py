from pathlib import Path

WORKER = Path(__file__).with_name("two_ranks.py")


def test_two_processes_hold_the_mask_of_the_first(two_ranks):
    """Masks that differ between processes make replicas drift apart silently, unless one mask counts."""
    for found in two_ranks(WORKER):
        sparse = found.pop("sparse")
        assert sparse.pop("refused").startswith("the network is inside DistributedDataParallel")
        assert sparse == {"mask": True, "layers": ["SparseLinear", "Tanh", "Linear"], "drift": 0.0, "trained": True}
        for name, seen in found.items():
            assert seen["mask of the first"] == [True, True], name
            assert (seen["leak"], seen["state"], seen["drift"]) == (0.0, 0.0, 0.0), name
            assert 0.2 < seen["density"] < 0.6, name
