import pytest


@pytest.fixture(autouse=True)
def every_host_on_one_thread(one_thread):
    """Networks this small are slower with more."""
