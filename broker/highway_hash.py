"""HighwayHash-64 over many byte ranges of one buffer at once.

Owns the arithmetic of HighwayHash (Alakuijala, Cox, Wassenberg: "Fast keyed
hash/pseudo-random function using SIMD multiply and permute", 2016) and nothing else.
nats-server puts this checksum behind every record it stores.

All ranges advance together, one packet of 32 bytes per step, the longest range first: the
ranges still running are always a prefix of the state, so each step is a few NumPy calls on
contiguous rows. Cost: about 60 ns per packet for 1,000 ranges or more, 15 µs per step for one.
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

KEY_BYTES: Final = 32
PACKET_BYTES: Final = 32

# State of this many ranges (four arrays of 32 bytes each) stays inside a second-level cache.
_RANGES_PER_PASS: Final = 4096

_Lanes: TypeAlias = NDArray[np.uint64]  # shape (ranges, 4), little-endian
_Bytes: TypeAlias = NDArray[np.uint8]
_Offsets: TypeAlias = NDArray[np.int64]

_U64: Final = np.dtype("<u8")
_U32: Final = np.dtype("<u4")
_HALF: Final = np.uint64(32)
_LOW: Final = np.uint64(0xFFFFFFFF)
_MUL_0: Final = (0xDBE6D5D5FE4CCE2F, 0xA4093822299F31D0, 0x13198A2E03707344, 0x243F6A8885A308D3)
_MUL_1: Final = (0x3BD39E10CB0EF593, 0xC0ACF169B5F18A8C, 0xBE5466CF34E90C6C, 0x452821E638D01377)
# The zipper merge as a permutation of the 16 bytes of a pair of lanes, for both pairs.
_ZIPPER_PAIR: Final = (3, 12, 2, 5, 14, 1, 15, 0, 11, 4, 10, 13, 9, 6, 8, 7)
_ZIPPER: Final = np.array([*_ZIPPER_PAIR, *(16 + i for i in _ZIPPER_PAIR)])
_FINAL_ROUNDS: Final = 4


def _last_packet_sources(left: int) -> list[int]:
    """Where each byte of a range's last packet comes from, when `left` (1..31) bytes remain.

    The value 32 stands for a zero byte.
    """
    whole = left & ~3
    packet = [*range(whole), *[PACKET_BYTES] * (PACKET_BYTES - whole)]
    if left >= PACKET_BYTES // 2:
        packet[28:] = range(left - 4, left)
    elif left & 3:
        packet[16:19] = (whole, whole + ((left & 3) >> 1), left - 1)
    return packet


_LAST_PACKET: Final = np.array(
    [[PACKET_BYTES] * PACKET_BYTES, *(_last_packet_sources(left) for left in range(1, 32))]
)


class _State:
    """The four vectors of the hash for `count` ranges: each of shape (count, 4), uint64."""

    def __init__(self, key: bytes, count: int) -> None:
        lanes = np.frombuffer(key, dtype=_U64)
        mul_0, mul_1 = np.array(_MUL_0, dtype=_U64), np.array(_MUL_1, dtype=_U64)
        turned = (lanes >> _HALF) | (lanes << _HALF)
        self.v0: _Lanes = np.tile(mul_0 ^ lanes, (count, 1))
        self.v1: _Lanes = np.tile(mul_1 ^ turned, (count, 1))
        self.mul0: _Lanes = np.tile(mul_0, (count, 1))
        self.mul1: _Lanes = np.tile(mul_1, (count, 1))
        self._a = np.empty((count, 4), dtype=_U64)
        self._b = np.empty((count, 4), dtype=_U64)

    def update(self, packets: _Lanes) -> None:
        """Absorb one packet (four lanes) into each of the first `len(packets)` ranges."""
        count = len(packets)
        v0, v1 = self.v0[:count], self.v1[:count]
        mul0, mul1 = self.mul0[:count], self.mul1[:count]
        a, b = self._a[:count], self._b[:count]
        v1 += packets
        v1 += mul0
        _mix(mul0, v1, v0, a, b)
        v0 += mul1
        _mix(mul1, v0, v1, a, b)
        v0 += _zipper_merge(v1, a)
        v1 += _zipper_merge(v0, a)

    def digest(self) -> NDArray[np.uint64]:
        """Finish: the 64-bit hash of every range."""
        for _ in range(_FINAL_ROUNDS):
            crossed = self.v0[:, [2, 3, 0, 1]]
            self.update((crossed >> _HALF) | (crossed << _HALF))
        return self.v0[:, 0] + self.v1[:, 0] + self.mul0[:, 0] + self.mul1[:, 0]


def _mix(target: _Lanes, low: _Lanes, high: _Lanes, a: _Lanes, b: _Lanes) -> None:
    """Multiply the low half of one vector by the high half of another, xor into `target`."""
    np.bitwise_and(low, _LOW, out=a)
    np.right_shift(high, _HALF, out=b)
    np.multiply(a, b, out=a)
    np.bitwise_xor(target, a, out=target)


def _zipper_merge(source: _Lanes, out: _Lanes) -> _Lanes:
    """Permute the bytes of each pair of lanes of `source` into `out`, and return `out`."""
    # mode "clip" lets NumPy write into `out` directly; every index is in bounds anyway.
    np.take(source.view(np.uint8), _ZIPPER, axis=1, out=out.view(np.uint8), mode="clip")
    return out


def highway_hash_64(
    key: bytes, buffer: _Bytes, starts: _Offsets, lengths: _Offsets
) -> NDArray[np.uint64]:
    """Hash `buffer[start : start + length]` for every pair of `starts` and `lengths`.

    `key` is 32 bytes; every range must lie inside `buffer`. The answer is in the order of
    `starts`; a checksum on disk is its little-endian form.
    """
    if len(key) != KEY_BYTES:
        raise ValueError(f"a HighwayHash key has {KEY_BYTES} bytes, not {len(key)}")
    hashes = np.empty(len(starts), dtype=np.uint64)
    if not len(starts):
        return hashes
    # Unaligned windows of one packet at every byte: reading rows of it copies 32 bytes each.
    padded = np.concatenate([buffer, np.zeros(PACKET_BYTES, dtype=np.uint8)])
    windows: NDArray[Any] = np.ndarray(
        len(buffer) + 1, dtype=f"V{PACKET_BYTES}", buffer=padded, strides=(1,)
    )
    longest_first = np.argsort(-lengths, kind="stable")
    for at in range(0, len(starts), _RANGES_PER_PASS):
        rows = longest_first[at : at + _RANGES_PER_PASS]
        hashes[rows] = _hash_sorted(key, windows, starts[rows], lengths[rows])
    return hashes


def _hash_sorted(
    key: bytes, windows: NDArray[Any], starts: _Offsets, lengths: _Offsets
) -> NDArray[np.uint64]:
    """Hash ranges whose lengths never rise from one to the next."""
    state = _State(key, len(starts))
    whole_packets = lengths // PACKET_BYTES
    descending = -whole_packets
    for step in range(int(whole_packets[0])):
        running = int(np.searchsorted(descending, -step, side="left"))
        packets = windows[starts[:running] + step * PACKET_BYTES]
        state.update(packets.view(_U64).reshape(running, 4))
    _absorb_rest(state, windows, starts + whole_packets * PACKET_BYTES, lengths % PACKET_BYTES)
    return state.digest()


def _absorb_rest(state: _State, windows: NDArray[Any], starts: _Offsets, left: _Offsets) -> None:
    """Absorb what is shorter than a packet; ranges without such a rest stay as they are."""
    rows = np.flatnonzero(left)
    if not len(rows):
        return
    rest = left[rows].astype(_U64)
    part = _rows_of(state, rows)
    part.v0 += ((rest << _HALF) + rest)[:, None]
    halves = part.v1.view(_U32)
    turn = rest.astype(_U32)[:, None]
    part.v1 = ((halves << turn) | (halves >> (np.uint32(32) - turn))).view(_U64)
    tail = np.zeros((len(rows), PACKET_BYTES + 1), dtype=np.uint8)
    tail[:, :PACKET_BYTES] = windows[starts[rows]].view(np.uint8).reshape(-1, PACKET_BYTES)
    packets = np.take_along_axis(tail, _LAST_PACKET[left[rows]], axis=1)
    part.update(packets.view(_U64))
    state.v0[rows], state.v1[rows] = part.v0, part.v1
    state.mul0[rows], state.mul1[rows] = part.mul0, part.mul1


def _rows_of(state: _State, rows: NDArray[np.intp]) -> _State:
    """Copy some ranges' state, so that they can advance alone."""
    part = _State(bytes(KEY_BYTES), len(rows))
    part.v0, part.v1 = state.v0[rows], state.v1[rows]
    part.mul0, part.mul1 = state.mul0[rows], state.mul1[rows]
    return part
