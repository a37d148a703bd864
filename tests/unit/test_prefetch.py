"""Reading ahead: in order, one item at the most, and with nothing left behind."""

from __future__ import annotations

import sys
import threading
import time

import pytest

from spyglass.runtime.goroutines.prefetch import prefetched


@pytest.mark.parametrize("ahead", [False, True])
@pytest.mark.parametrize("count", [0, 1, 2, 7])
def test_results_come_in_order(count: int, ahead: bool) -> None:
    assert list(prefetched(lambda n: n * n, range(count), ahead)) == [n * n for n in range(count)]


def test_one_item_is_fetched_ahead_by_another_thread() -> None:
    fetched: list[int] = []
    threads = set()

    def fetch(item: int) -> int:
        threads.add(threading.get_ident())
        fetched.append(item)
        return item

    for result in prefetched(fetch, range(5), True):
        deadline = time.monotonic() + 10
        expected = min(result + 2, 5)
        while len(fetched) < expected and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(0.01)
        assert fetched == list(range(expected))
    assert len(threads) == 1
    assert threading.get_ident() not in threads


@pytest.mark.parametrize("ahead", [False, True])
def test_what_fetching_raises_is_raised_where_it_is_used(ahead: bool) -> None:
    def fetch(item: int) -> int:
        if item == 2:
            raise KeyError(item)
        return item

    results = prefetched(fetch, range(5), ahead)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(KeyError):
        next(results)


@pytest.mark.parametrize("ending", ["end", "close", "error"])
def test_no_thread_and_no_setting_is_left(ending: str) -> None:
    threads, interval = threading.active_count(), sys.getswitchinterval()
    results = prefetched(lambda n: n if n < 3 or ending != "error" else 1 // 0, range(5), True)
    next(results)
    assert threading.active_count() == threads + 1
    if ending == "close":
        results.close()
    elif ending == "error":
        with pytest.raises(ZeroDivisionError):
            list(results)
    else:
        list(results)
    assert threading.active_count() == threads
    assert sys.getswitchinterval() == interval


def test_without_ahead_no_thread_is_used() -> None:
    own = threading.get_ident()
    assert set(prefetched(lambda _: threading.get_ident(), range(3), False)) == {own}
