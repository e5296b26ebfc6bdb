"Memory that loading processes share: what is put in comes out, once, and nowhere else."
import pickle
import threading

import numpy as np
import pytest

from adafocus.data.memory import FrameCache, FramePool, PackedList


def test_a_cache_that_is_full_keeps_what_it_has():
    clip = np.random.default_rng(0).integers(0, 255, (24, 48, 64, 3), dtype=np.uint8)
    cache = FrameCache(10, 1)
    assert cache.put(3, clip) and not cache.put(3, clip) and (cache.get(3) == clip).all()
    assert [cache.put(k, np.zeros((70, 48, 64, 3), np.uint8)) for k in (0, 1)] == [True, False]
    assert cache.get(1) is None and not cache.get(0).any() and (cache.get(3) == clip).all()
    assert FrameCache(5, 0).put(1, clip) is False and not FrameCache(5, 0).fits(1)
    assert pickle.loads(pickle.dumps(cache)).get(3) is None


def test_two_threads_that_put_at_once_never_overlap():
    cache = FrameCache(200, 8)
    def put(first):
        for k in range(first, 200, 2): cache.put(k, np.full((2, 8, 8, 3), k, np.uint8))
    threads = [threading.Thread(target=put, args=(first,)) for first in (0, 1)]
    for t in threads: t.start()
    for t in threads: t.join()
    for k in range(200): assert (cache.get(k) == k).all()


def test_a_pool_without_a_free_slot_gives_an_array_of_its_own():
    pool = FramePool(1, 2, 48)
    places = [pool.place(0, (2, 2, 4, 3), 2) for _ in range(3)]
    assert [len(handles) for _, handles in places] == [1, 1, 0]
    assert pool.place(0, (99, 1, 1, 3), 99)[1] == []
    pool.give_back(0)
    assert len(pool.place(0, (2, 2, 4, 3), 1)[1]) == 2


def test_a_packed_list_is_a_list():
    items = ['a', dict(b=1), None]
    assert list(PackedList(items)) == items and PackedList('abc')[-1] == 'c' and len(PackedList([])) == 0
    for k in (3, -4):
        with pytest.raises(IndexError): PackedList('abc')[k]
