"""Two minutes of chaos with a fixed seed; tests/lab/chaos has more."""
from chaos_run import ChaosRun


def test_two_minutes_of_chaos_break_nothing(product):
    assert ChaosRun(product, seed=5).run(minutes=2), "the report above says what is broken"
