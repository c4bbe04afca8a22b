import pytest

from workers.room import Room


def test_the_first_lane_may_begin_if_no_other_computes_and_further_ones_may_not() -> None:
    room = Room()
    assert room.has_room(0)
    assert not room.has_room(1)


@pytest.mark.parametrize(("members", "fits"), [(2, True), (31, True), (32, False), (64, False)])
def test_a_lane_begins_beside_others_that_do_not_fill_the_device(members: int, fits: bool) -> None:
    room = Room()
    with room.hold(0, members, 32):
        assert room.has_room(1) == fits
        assert room.has_room(0), "what it computes itself is over when it begins anew"
        assert not room.is_shared(0)
        assert room.is_shared(1)
    assert not room.is_shared(1)


def test_the_members_of_all_other_lanes_count() -> None:
    room = Room()
    with room.hold(0, 20, 32), room.hold(1, 12, 64):
        assert not room.has_room(2)
        assert room.has_room(1)
        assert room.has_room(0)


def test_a_lane_that_fails_holds_nothing() -> None:
    room = Room()
    with pytest.raises(ValueError, match="torn"), room.hold(1, 64, 32):
        raise ValueError("torn")
    assert room.has_room(0)
