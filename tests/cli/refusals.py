"""What bad input is answered by: one sentence, exit code 2, nothing on standard output."""


def refused(outcome, *words):
    assert outcome.code == 2, outcome.out
    assert "Traceback" not in outcome.err
    assert outcome.out == ""
    message = " ".join(outcome.err.replace("│", " ").split())
    for word in words:
        assert word in message, message
