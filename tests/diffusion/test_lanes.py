"""Calls beside each other: their answers, their order and the threads they leave behind."""

import threading
from collections.abc import Iterator

import pytest
import torch

from geodiff.diffusion import in_order, lanes_on


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("lanes", [1, 2, 3, 20])
@pytest.mark.parametrize("count", [0, 1, 7])
def test_answers_come_in_the_order_of_the_items(lanes: int, count: int) -> None:
    assert list(in_order(lambda n: n * n, range(count), lanes)) == [n * n for n in range(count)]


def test_two_calls_are_under_way_at_once() -> None:
    meeting = threading.Barrier(2, timeout=30)  # breaks when only one call waits at it
    assert len(list(in_order(lambda _: meeting.wait(), range(4), 2))) == 4


def test_calls_do_not_run_far_ahead_of_the_one_who_takes_their_answers() -> None:
    begun: list[int] = []
    answers = in_order(begun.append, range(100), 2)
    next(answers)
    next(answers)
    answers.close()  # type: ignore[attr-defined]
    assert len(begun) <= 2 + 4


def test_an_error_comes_in_its_turn_and_ends_the_rest() -> None:
    begun: list[int] = []

    def call(n: int) -> int:
        begun.append(n)
        if n == 3:
            raise ValueError("call 3")
        return n

    answers = in_order(call, range(100), 2)
    assert [next(answers) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="call 3"):
        next(answers)
    assert len(begun) < 12


def test_calls_share_the_threads_and_the_caller_keeps_them() -> None:
    assert list(in_order(lambda _: torch.get_num_threads(), range(5), 2)) == [1] * 5
    assert torch.get_num_threads() == 2
    later: list[int] = []
    thread = threading.Thread(target=lambda: later.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert later == [2]


def test_calls_have_the_gradient_mode_of_the_one_who_asks() -> None:
    def modes(_: int) -> tuple[bool, bool]:
        return torch.is_grad_enabled(), torch.is_inference_mode_enabled()

    assert set(in_order(modes, range(3), 2)) == {(True, False)}
    with torch.no_grad():
        assert set(in_order(modes, range(3), 2)) == {(False, False)}
    with torch.inference_mode():
        assert set(in_order(modes, range(3), 2)) == {(False, True)}


def test_a_cpu_has_a_lane_for_each_thread_but_not_for_odd_batches_and_a_gpu_one() -> None:
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    assert (lanes_on(cpu, 8), lanes_on(cpu, 3), lanes_on(gpu, 8)) == (2, 1, 1)
    torch.set_num_threads(1)
    assert lanes_on(cpu, 8) == 1
