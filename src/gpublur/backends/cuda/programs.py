"""What a step of `pipeline` launches, recorded once for pictures of a kind: later calls only fill addresses in.

A step is recorded by doing it with a `Recorder` for its picture's memory, whose addresses are a buffer's number and how
far into it. In arguments of launches every unsigned 64-bit integer is an address, and no address is anything else.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from operator import itemgetter
from typing import Any, NamedTuple, NoReturn, cast

import numpy as np
from numpy.typing import NDArray

from ...arrays import Picture
from ...memory import Memory, Room
from . import loader, tables
from .launches import Launch

KEPT = 256  # programs: of one kind of pictures and masks, and one choice of options, each
WITHIN = 48  # bits of an address that count bytes within a buffer; the buffer's number is above them
ADDRESS = np.dtype(np.uint64)


class Kind(NamedTuple):
    """What a program depends on of an array; its dtype is that of the array's library."""

    shape: tuple[int, ...]
    dtype: Any


class Live(NamedTuple):
    """The caller's stream, to which launches go at once."""

    memory: Memory
    stream: int

    def table(self, key: Any, build: tables.Build) -> tables.Table:
        """Return arrays of the host on the device, see `tables.kept`."""
        [table] = tables.kept(((key, build),), self.memory)
        return table

    def launch(self, where: Launch, args: tuple[Any, ...]) -> None:
        """Launch a kernel; the arguments are NumPy's scalars and structs."""
        bare = tuple(map(nameless, args))
        loader.gpu().launch(where.source, where.entry, where.grid, where.block, bare, where.shared, self.stream)


class Program(NamedTuple):
    """What a step launches. It holds no memory of a device, and is never written: threads may run it side by side.

    Attributes
    ----------
    words : array of uint64
        All arguments that hold addresses, one behind the other: first those that are addresses themselves.
    buffer : array of int
        Of each word the buffer into which it points; 0: it is no address. Buffers are, in this order, from 1 on: the
        arrays that are given, ``arrays``, ``tables``, ``room``.
    addresses : int
        Words that are addresses themselves.
    structs : dtype
        The structs, as fields of one that is all words.
    constants : tuple
        Arguments without addresses.
    launches : tuple
        Of each the kernel, and what picks its arguments from addresses, structs and constants, in this order.
    arrays : tuple of (shape, dtype)
        To be allocated for the caller.
    result : int
        Which of them is the step's.
    tables : tuple
        Keys and builders for `tables.kept`.
    room : Room
        To be allocated for as long as the program runs.
    """

    words: NDArray[np.uint64]
    buffer: NDArray[np.intp]
    addresses: int
    structs: np.dtype[Any]
    constants: tuple[Any, ...]
    launches: tuple[tuple[Launch, Callable[[list[Any]], tuple[Any, ...]]], ...]
    arrays: tuple[tuple[tuple[int, ...], str], ...]
    result: int
    tables: tuple[tables.Wanted, ...]
    room: Room

    def run(self, memory: Memory, *given: Any) -> Any:
        """Launch all of it on the caller's stream, for the arrays that are given; return the step's result."""
        arrays = [memory.empty(shape, dtype) for shape, dtype in self.arrays]
        held = tables.kept(self.tables, memory)
        _scratch, places = memory.scratch(self.room)  # kept until all is launched
        first = [0, *map(memory.address, given), *map(memory.address, arrays), *(table.address for table in held)]
        bases = np.empty(len(first) + len(places), ADDRESS)
        bases[: len(first)] = first
        bases[len(first) :] = places
        words = self.words + bases.take(self.buffer)
        structs = np.ndarray((), self.structs, words)
        args = [*words[: self.addresses], *map(structs.__getitem__, self.structs.names or ()), *self.constants]
        launch, stream = loader.gpu().launch, memory.stream()
        for (source, entry, grid, block, shared), picked in self.launches:
            launch(source, entry, grid, block, picked(args), shared, stream)
        return arrays[self.result]


class Unrecorded(Exception):
    """A step does more than launch kernels: it must be done with the arrays there."""


class Symbol:
    """Stands for an array while a step is recorded."""

    def __init__(self, kind: Kind, address: int) -> None:
        self.shape, self.dtype = kind
        self.ndim, self.address = len(kind.shape), address

    def __getattr__(self, name: str) -> NoReturn:
        raise Unrecorded(name)

    def __getitem__(self, at: Any) -> NoReturn:
        raise Unrecorded(at)


class Recorder:
    """A picture's memory and stream while a step is recorded: nothing is allocated or launched, only written down."""

    on_gpu = True

    def __init__(self) -> None:
        self._given: list[int] = []  # buffers' numbers, as the keys of the next three
        self._arrays: dict[int, tuple[tuple[int, ...], str]] = {}
        self._tables: dict[int, tables.Wanted] = {}
        self._scratch: dict[int, int] = {}  # floats
        self._launches: list[tuple[Launch, tuple[Any, ...]]] = []

    def __getattr__(self, name: str) -> NoReturn:
        raise Unrecorded(name)

    def _number(self) -> int:
        return 1 + sum(map(len, (self._given, self._arrays, self._tables, self._scratch)))

    def given(self, kind: Kind) -> Symbol:
        """Return what stands for an array that is given."""
        number = self._number()
        self._given.append(number)
        return Symbol(kind, number << WITHIN)

    def empty(self, shape: tuple[int, ...], dtype: str) -> Symbol:
        number = self._number()
        self._arrays[number] = shape, dtype
        return Symbol(Kind(shape, np.dtype(dtype)), number << WITHIN)

    def scratch(self, room: Room) -> tuple[None, NDArray[np.uint64]]:
        first = self._number()
        self._scratch |= enumerate(room.sizes.values(), first)
        return None, np.arange(first, first + len(room.sizes), dtype=ADDRESS) << np.uint64(WITHIN)

    def table(self, key: Any, build: tables.Build) -> tables.Table:
        """Return arrays of the host as `Live.table` does."""
        number = self._number()
        self._tables[number] = key, build
        return tables.placed(None, number << WITHIN, build())

    def launch(self, where: Launch, args: tuple[Any, ...]) -> None:
        self._launches.append((where, args))

    def address(self, array: Symbol) -> int:
        return array.address

    def adopt(self, array: Symbol) -> Symbol:
        return array

    contiguous = adopt

    def program(self, result: Symbol) -> Program:
        """Return what was recorded, and that its result is this one."""
        args = {id(arg): arg for _, some in self._launches for arg in some}
        addresses = [arg for arg in args.values() if arg.dtype == ADDRESS]
        structs = [arg for arg in args.values() if pointers(arg.dtype).any()]
        constants = [arg for arg in args.values() if arg.dtype != ADDRESS and not pointers(arg.dtype).any()]
        at = {id(arg): i for i, arg in enumerate((*addresses, *structs, *constants))}
        words = np.concatenate([np.array(addresses, ADDRESS), *(struct.reshape(1).view(ADDRESS) for struct in structs)])
        symbolic = np.concatenate([np.ones(len(addresses), bool), *(pointers(struct.dtype) for struct in structs)])
        number = np.where(symbolic, words >> np.uint64(WITHIN), 0).astype(np.intp)
        order = [0, *self._given, *self._arrays, *self._tables, *self._scratch]
        return Program(
            words=words - (number.astype(ADDRESS) << np.uint64(WITHIN)),
            buffer=np.argsort(order)[number],
            addresses=len(addresses),
            structs=one_behind_the_other([struct.dtype for struct in structs], 8 * len(addresses)),
            constants=tuple(map(nameless, constants)),
            launches=tuple((where, itemgetter(*(at[id(arg)] for arg in some))) for where, some in self._launches),
            arrays=tuple(self._arrays.values()),
            result=list(self._arrays).index(result.address >> WITHIN),
            tables=tuple(self._tables.values()),
            room=Room.of({str(number): floats for number, floats in self._scratch.items()}),
        )


@lru_cache(maxsize=KEPT)
def program(backend: Any, step: Callable[..., Any], pixels: Kind, planar: bool, mask: Any, *settings: Any) -> Any:
    """Return the `Program` of a step, or None where it does more than launch kernels.

    Parameters
    ----------
    pixels, planar
        Of the picture.
    mask : pipeline.Mask, optional
        With a `Kind` for its values.
    """
    recorder = Recorder()
    picture = Picture(recorder.given(pixels), planar, cast(Memory, recorder))
    if mask is not None:
        mask = mask._replace(values=recorder.given(mask.values))
    try:
        return recorder.program(step(backend, picture, mask, *settings))
    except Unrecorded:
        return None


def kind(array: Any) -> Kind:
    """Return the kind of an array of any library."""
    return Kind(array.shape, array.dtype)


def queue(memory: Memory) -> Live | Recorder:
    """Return where launches for a picture in a memory go."""
    return memory if isinstance(memory, Recorder) else Live(memory, memory.stream())


def pointers(dtype: np.dtype[Any]) -> NDArray[np.bool_]:
    """Return of each word of a struct whether it is an address; nothing else has members of 64 bits without a sign."""
    found = np.zeros(dtype.itemsize // 8, bool)
    for member, start, *_ in (dtype.fields or {}).values():
        within = pointers(member) if member.fields else np.array([member == ADDRESS])
        found[start // 8 :][: len(within)] |= within
    return found


def one_behind_the_other(structs: list[np.dtype[Any]], start: int) -> np.dtype[Any]:
    """Return a struct of structs without names, the first of which begins at a byte."""
    ends = np.cumsum([start, *(struct.itemsize for struct in structs)]).tolist()
    names, bare = [str(i) for i in range(len(structs))], [f"V{struct.itemsize}" for struct in structs]
    return np.dtype({"names": names, "formats": bare, "offsets": ends[:-1], "itemsize": ends[-1]})


def nameless(arg: Any) -> Any:
    """Return a struct as mere bytes: of names CuPy has NumPy make a description at every launch, in 6 microseconds."""
    return arg.view(f"V{arg.itemsize}") if arg.dtype.names else arg
