"""The part of libbpf.so.1 that is used here, as Python: objects, maps, test runs, the ring buffer.

Nothing in this module knows what the maps mean.  Keys and values are bytes, descriptors are closed with the object that
owns them, and every failure is an OSError with the kernel's error number.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from ctypes import byref, c_char_p, c_int, c_size_t, c_uint32, c_uint64, c_void_p
from dataclasses import dataclass
from functools import cache
from pathlib import Path

# linux/bpf.h
ANY = 0
_BATCH = 4096  # entries a system call


class _BatchOptions(ctypes.Structure):
    _fields_ = (("sz", c_size_t), ("elem_flags", c_uint64), ("flags", c_uint64))


class _TestRunOptions(ctypes.Structure):
    _fields_ = (
        ("sz", c_size_t),
        ("data_in", c_void_p),
        ("data_out", c_void_p),
        ("data_size_in", c_uint32),
        ("data_size_out", c_uint32),
        ("ctx_in", c_void_p),
        ("ctx_out", c_void_p),
        ("ctx_size_in", c_uint32),
        ("ctx_size_out", c_uint32),
        ("retval", c_uint32),
        ("repeat", c_int),
        ("duration", c_uint32),
        ("flags", c_uint32),
        ("cpu", c_uint32),
        ("batch_size", c_uint32),
    )


class _MapInfo(ctypes.Structure):
    """The start of `struct bpf_map_info`."""

    _fields_ = (
        ("kind", c_uint32),
        ("id", c_uint32),
        ("key_size", c_uint32),
        ("value_size", c_uint32),
        ("max_entries", c_uint32),
        ("map_flags", c_uint32),
        ("name", ctypes.c_char * 16),
    )


_Printer = ctypes.CFUNCTYPE(c_int, c_int, c_char_p, c_void_p)
_Sample = ctypes.CFUNCTYPE(c_int, c_void_p, c_void_p, c_size_t)
_SILENT = _Printer(lambda _level, _format, _arguments: 0)


@cache
def _library() -> ctypes.CDLL:
    """libbpf, with the result types that are not int; raises OSError where it is missing."""
    library = ctypes.CDLL("libbpf.so.1", use_errno=True)
    for name in (
        "bpf_object__open_mem",
        "bpf_object__find_map_by_name",
        "bpf_object__find_program_by_name",
        "ring_buffer__new",
    ):
        getattr(library, name).restype = c_void_p
    library.libbpf_set_print.restype = c_void_p
    library.libbpf_set_print(_SILENT)  # what the verifier says comes with the error, not on stderr
    return library


def _check(result: int, what: str) -> int:
    if result < 0:
        number = -result if result != -1 else ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def _written(result: int, name: str) -> None:
    """A hash says E2BIG, and a trie ENOSPC, of an entry too many."""
    if result in (-errno.E2BIG, -errno.ENOSPC):
        raise OSError(-result, f"write {name}: the map is full")
    _check(result, f"write {name}")


def _pointer(value: int | None, what: str) -> c_void_p:
    if not value:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return c_void_p(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Map:
    """A map in the kernel, by a descriptor that this value does not own."""

    fd: int
    name: str
    key_size: int
    value_size: int
    max_entries: int

    @classmethod
    def of(cls, fd: int) -> Map:
        """What the kernel says of a map."""
        info, size = _MapInfo(), c_uint32(ctypes.sizeof(_MapInfo))
        _check(_library().bpf_obj_get_info_by_fd(fd, byref(info), byref(size)), "map info")
        return cls(
            fd=fd,
            name=info.name.decode(),
            key_size=info.key_size,
            value_size=info.value_size,
            max_entries=info.max_entries,
        )

    def get(self, key: bytes) -> bytes | None:
        """The value at a key; of a map with a value a processor, all of them one after the other."""
        value = ctypes.create_string_buffer(self.value_size)
        result = _library().bpf_map_lookup_elem(self.fd, key, value)
        if result == -errno.ENOENT or (result == -1 and ctypes.get_errno() == errno.ENOENT):
            return None
        _check(result, f"look up in {self.name}")
        return value.raw

    def per_cpu(self, key: bytes) -> list[bytes]:
        """The values of all possible processors at a key of a per-CPU array."""
        stride = (self.value_size + 7) & ~7
        count = _possible_cpus()
        value = ctypes.create_string_buffer(stride * count)
        _check(_library().bpf_map_lookup_elem(self.fd, key, value), f"look up in {self.name}")
        return [value.raw[place * stride : place * stride + self.value_size] for place in range(count)]

    def put_per_cpu(self, key: bytes, value: bytes) -> None:
        """Give the first processor `value`, and the others zeros."""
        stride = (self.value_size + 7) & ~7
        _check(
            _library().bpf_map_update_elem(self.fd, key, value.ljust(stride * _possible_cpus(), b"\0"), c_uint64(ANY)),
            f"write {self.name}",
        )

    def put(self, key: bytes, value: bytes, flags: int = ANY) -> None:
        """Write one entry."""
        _written(_library().bpf_map_update_elem(self.fd, key, value, c_uint64(flags)), self.name)

    def delete(self, key: bytes) -> None:
        """Remove an entry, which must exist."""
        _check(_library().bpf_map_delete_elem(self.fd, key), f"delete from {self.name}")

    def all_keys(self) -> list[bytes]:
        """All keys, where nobody deletes meanwhile: else the kernel begins again, and may never come to an end."""
        found: list[bytes] = []
        key: bytes | None = None
        following = ctypes.create_string_buffer(self.key_size)
        while _library().bpf_map_get_next_key(self.fd, key, following) == 0:
            key = following.raw
            found.append(key)
        return found

    def keys_in_use(self) -> list[bytes]:
        """The keys of a hash that programs change meanwhile, bucket by bucket: none that stays is missing."""
        found: list[bytes] = []
        options = _BatchOptions(ctypes.sizeof(_BatchOptions), 0, 0)
        place, following, room, begun = c_uint32(), c_uint32(), _BATCH, False
        while True:
            keys = ctypes.create_string_buffer(room * self.key_size)
            values = ctypes.create_string_buffer(room * self.value_size)
            count = c_uint32(room)
            start = byref(place) if begun else None
            result = _library().bpf_map_lookup_batch(
                self.fd, start, byref(following), keys, values, byref(count), byref(options)
            )
            if result == -errno.ENOSPC:  # a bucket holds more
                room *= 2
                continue
            if result != -errno.ENOENT:  # which is the end
                _check(result, f"read {self.name}")
            found += (keys.raw[n * self.key_size : (n + 1) * self.key_size] for n in range(count.value))
            if result:
                return found
            place, begun = c_uint32(following.value), True

    def entries(self) -> Mapping[bytes, bytes]:
        """Every entry of a map without per-processor values."""
        found = ((key, self.get(key)) for key in self.all_keys())
        return {key: value for key, value in found if value is not None}

    def values(self) -> bytes:
        """All values of an array, one after the other."""
        keys = ctypes.create_string_buffer(self.key_size * self.max_entries)
        values = ctypes.create_string_buffer(self.value_size * self.max_entries)
        count, position = c_uint32(self.max_entries), c_uint32()
        options = _BatchOptions(ctypes.sizeof(_BatchOptions), 0, 0)
        result = _library().bpf_map_lookup_batch(
            self.fd, None, byref(position), keys, values, byref(count), byref(options)
        )
        if result != -errno.ENOENT:  # which says that it was the last part
            _check(result, f"read {self.name}")
        return values.raw

    def put_all(self, entries: Sequence[tuple[bytes, bytes]], flags: int = ANY) -> None:
        """Write many entries."""
        options = _BatchOptions(ctypes.sizeof(_BatchOptions), flags, 0)
        for start in range(0, len(entries), _BATCH):
            part = entries[start : start + _BATCH]
            count = c_uint32(len(part))
            keys, values = b"".join(key for key, _ in part), b"".join(value for _, value in part)
            result = _library().bpf_map_update_batch(self.fd, keys, values, byref(count), byref(options))
            _written(result, self.name)

    def delete_all(self, keys: Iterable[bytes]) -> None:
        """Remove entries, as far as they exist."""
        for key in keys:
            result = _library().bpf_map_delete_elem(self.fd, key)
            if result not in (0, -errno.ENOENT):
                _check(result, f"delete from {self.name}")


@cache
def _possible_cpus() -> int:
    """How many values a per-CPU map has: the kernel counts processors that may come, too."""
    return _check(_library().libbpf_num_possible_cpus(), "processors")


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What came of a test run: the program's result, and nanoseconds a repetition."""

    result: int
    nanoseconds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A loaded program, by a descriptor that this value does not own."""

    fd: int

    def run(self, frame: bytes, context: bytes = b"", repeat: int = 1) -> Run:
        """BPF_PROG_TEST_RUN: a frame from its Ethernet header on, under (the start of) a `struct __sk_buff`."""
        options = _TestRunOptions()
        options.sz = ctypes.sizeof(options)
        options.data_in = ctypes.cast(c_char_p(frame), c_void_p)
        options.data_size_in = len(frame)
        if context:
            options.ctx_in = ctypes.cast(c_char_p(context), c_void_p)
            options.ctx_size_in = len(context)
        options.repeat = repeat
        _check(_library().bpf_prog_test_run_opts(self.fd, byref(options)), "test run")
        return Run(result=ctypes.c_int32(options.retval).value, nanoseconds=options.duration)


class Object:
    """An object file, loaded into the kernel; its descriptors live as long as it is open."""

    def __init__(self, data: bytes, sizes: Mapping[str, int], reuse: Mapping[str, Map] | None = None) -> None:
        """Load.  `sizes`: how many entries maps may hold; `reuse`: maps that exist already, by name."""
        library = _library()
        self._pointer: c_void_p | None = _pointer(
            library.bpf_object__open_mem(data, c_size_t(len(data)), None), "open the object"
        )
        try:
            for name, entries in sizes.items():
                if (found := self._find("map", name)) is not None:
                    _check(library.bpf_map__set_max_entries(found, c_uint32(entries)), f"size {name}")
            for name, existing in (reuse or {}).items():
                if (found := self._find("map", name)) is not None:
                    _check(library.bpf_map__reuse_fd(found, existing.fd), f"reuse {name}")
            _check(library.bpf_object__load(self._pointer), "load the object")
        except OSError:
            self.close()
            raise

    def _find(self, kind: str, name: str) -> c_void_p | None:
        found = getattr(_library(), f"bpf_object__find_{kind}_by_name")(self._pointer, name.encode())
        return c_void_p(found) if found else None

    def map(self, name: str) -> Map | None:
        """A map by its name; None where the features left it out."""
        found = self._find("map", name)
        return None if found is None else Map.of(_check(_library().bpf_map__fd(found), name))

    def program(self, name: str) -> Program:
        """A program by its name."""
        found = self._find("program", name)
        if found is None:
            raise LookupError(f"no program {name}")
        return Program(fd=_check(_library().bpf_program__fd(found), name))

    def close(self) -> None:
        """Close the descriptors; what is pinned or attached stays in the kernel."""
        if self._pointer is not None:
            _library().bpf_object__close(self._pointer)
            self._pointer = None

    def __enter__(self) -> Object:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def pin(fd: int, path: Path) -> None:
    """Give a map or program a name under a BPF file system, which keeps it alive."""
    _check(_library().bpf_obj_pin(fd, os.fsencode(path)), f"pin {path}")


def pinned(path: Path) -> int:
    """A descriptor, to be closed by the caller, of what is pinned at a path."""
    return _check(_library().bpf_obj_get(os.fsencode(path)), f"open {path}")


class RingBuffer:
    """The consumer's end of a ring buffer; there is one at a time."""

    def __init__(self, source: Map, take: Callable[[bytes], None]) -> None:
        """`take` is called with every record."""

        def sample(_context: int, data: int, size: int) -> int:
            take(ctypes.string_at(data, size))
            return 0

        self._sample = _Sample(sample)  # the library keeps no reference
        made = _library().ring_buffer__new(source.fd, self._sample, None, None)
        self._pointer: c_void_p | None = _pointer(made, "ring buffer")

    def poll(self, milliseconds: int) -> int:
        """Wait for records and take them; how many there were."""
        result = _library().ring_buffer__poll(self._pointer, c_int(milliseconds))
        return 0 if result == -errno.EINTR else _check(result, "ring buffer")

    def consume(self) -> int:
        """Take what is there."""
        return _check(_library().ring_buffer__consume(self._pointer), "ring buffer")

    def close(self) -> None:
        """Stop consuming."""
        if self._pointer is not None:
            _library().ring_buffer__free(self._pointer)
            self._pointer = None

    def __enter__(self) -> RingBuffer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


_SYS_MEMBARRIER = {"x86_64": 324, "aarch64": 283}
_MEMBARRIER_GLOBAL = 1


def wait_for_programs() -> None:
    """Return when every program that was running has ended: membarrier(2), which waits for an RCU grace period."""
    number = _SYS_MEMBARRIER[os.uname().machine]
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syscall(number, _MEMBARRIER_GLOBAL, 0, 0):
        raise OSError(ctypes.get_errno(), "membarrier")
