import json
import subprocess
import sys
from pathlib import Path

WORKER = Path(__file__).with_name("two_ranks.py")


def test_two_processes_hold_the_mask_of_the_first(tmp_path):
    """Masks that differ between processes make replicas drift apart silently, unless one mask counts."""
    workers = [
        subprocess.Popen(
            [sys.executable, str(WORKER), str(rank), str(tmp_path / "meeting-point")],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        outputs = [worker.communicate(timeout=120) for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
    for worker, (output, complaint) in zip(workers, outputs, strict=True):
        assert worker.returncode == 0, complaint
        found = json.loads(output.splitlines()[-1])
        sparse = found.pop("sparse")
        assert sparse.pop("refused").startswith("the network is inside DistributedDataParallel")
        assert sparse == {"mask": True, "layers": ["SparseLinear", "Tanh", "Linear"], "drift": 0.0, "trained": True}
        for name, seen in found.items():
            assert seen["mask of the first"] == [True, True], name
            assert (seen["leak"], seen["state"], seen["drift"]) == (0.0, 0.0, 0.0), name
            assert 0.2 < seen["density"] < 0.6, name
