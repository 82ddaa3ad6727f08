"""A disk in memory that remembers what was asked of it, and what of that a power failure may leave.

The model is that of the crash-consistency literature: what was not synced is there, absent, or there in
part (a prefix of bytes, or any sectors of 512), each write for itself and in any order; a name made, moved or
taken away is there or not until its directory was synced, each for itself; syncing a file does not pin its
name.

`LoggedDisk` has the calls of storage/disk.py and appends each to `events`, beside marks of the test. `Replay`
takes events up to a cut and gives `Image`s, which are what the next start may find.
"""

import errno
import itertools
import os
import random
from dataclasses import dataclass, field

SECTOR = 512

_numbers = itertools.count(1)


@dataclass
class Image:
    """Files and folders as they are: path -> number of the file, number -> bytes."""

    names: dict[str, int] = field(default_factory=dict)
    folders: set[str] = field(default_factory=set)
    contents: dict[int, bytes] = field(default_factory=dict)

    def copy(self) -> "Image":
        """Bytes are shared, for nobody changes them in place."""
        return Image(dict(self.names), set(self.folders), dict(self.contents))

    def write_below(self, folder: str, prefix: str) -> None:
        """Make the files whose path begins with `prefix` real, below `folder`, by their last two names."""
        for path, number in self.names.items():
            if path.startswith(prefix):
                target = os.path.join(folder, *path.split("/")[-2:])
                os.makedirs(os.path.dirname(target), exist_ok=True)
                with open(target, "wb") as file:
                    file.write(self.contents[number])


def change(data: bytearray, event: tuple) -> None:
    """What one event does to the bytes of its file."""
    kind, _number, offset, value = event
    if kind == "write":
        if len(data) < offset + len(value):
            data.extend(bytes(offset + len(value) - len(data)))
        data[offset : offset + len(value)] = value
    elif kind == "grow":
        data.extend(bytes(max(0, offset - len(data))))
    elif kind == "size":
        del data[offset:]
        data.extend(bytes(offset - len(data)))


class LoggedDisk:
    """Starts with an image. What the process sees is always the newest state."""

    def __init__(self, image: Image | None = None, events: list[tuple] | None = None):
        image = image or Image(folders={"/"})
        self.names = dict(image.names)
        self.folders = set(image.folders)
        self.files = {number: bytearray(image.contents[number]) for number in set(image.names.values())}
        self.events = [] if events is None else events
        self._open: dict[int, int] = {}
        self._next_fd = 1 << 30  # far from any real descriptor

    # --- files -------------------------------------------------------------------------------------------

    def open(self, path: str) -> int:
        if path not in self.names:
            raise FileNotFoundError(errno.ENOENT, "no such file", path)
        self._next_fd += 1
        self._open[self._next_fd] = self.names[path]
        return self._next_fd

    def open_to_read(self, path: str) -> int:
        return self.open(path)

    def create(self, path: str) -> int:
        if path in self.names:
            raise FileExistsError(errno.EEXIST, "file exists", path)
        self._need_folder(path)
        number = next(_numbers)
        self.names[path] = number
        self.files[number] = bytearray()
        self.events.append(("create", path, number, None))
        return self.open(path)

    def close(self, fd: int) -> None:
        del self._open[fd]

    def duplicate(self, fd: int) -> int:
        """Refused: what is synced by a thread would not be the same in each run of a seed."""
        raise OSError(errno.EMFILE, "no more descriptors")

    def size(self, fd: int) -> int:
        return len(self.files[self._open[fd]])

    def pread(self, fd: int, size: int, offset: int) -> bytes:
        return bytes(self.files[self._open[fd]][offset : offset + size])

    def pwrite(self, fd: int, data, offset: int) -> int:
        return self._change(("write", self._open[fd], offset, bytes(data)))

    def pwritev(self, fd: int, buffers, offset: int) -> int:
        return self._change(("write", self._open[fd], offset, b"".join(buffers)))

    def fallocate(self, fd: int, offset: int, size: int) -> None:
        self._change(("grow", self._open[fd], offset + size, b""))

    def truncate(self, fd: int, size: int) -> None:
        self._change(("size", self._open[fd], size, b""))

    def fdatasync(self, fd: int) -> None:
        self.events.append(("sync", self._open[fd], None, None))

    fsync = fdatasync

    def _change(self, event: tuple) -> int:
        self.events.append(event)
        change(self.files[event[1]], event)
        return len(event[3])

    def lock(self, fd: int) -> bool:
        return True

    def free_size(self, path: str) -> int:
        return 1 << 40

    # --- directories -------------------------------------------------------------------------------------

    def _need_folder(self, path: str) -> None:
        if os.path.dirname(path) not in self.folders:
            raise FileNotFoundError(errno.ENOENT, "no such directory", path)

    def make_directory(self, path: str) -> None:
        self._need_folder(path)
        self.folders.add(path)
        self.events.append(("mkdir", path, None, None))

    def remove_directory(self, path: str) -> None:
        if self.list(path):
            raise OSError(errno.ENOTEMPTY, "not empty", path)
        self.folders.discard(path)
        self.events.append(("rmdir", path, None, None))

    def list(self, path: str) -> list[str]:
        there = itertools.chain(self.names, self.folders)
        return sorted(
            {name[len(path) + 1 :] for name in there if os.path.dirname(name) == path and name != path}
        )

    def exists(self, path: str) -> bool:
        return path in self.names or path in self.folders

    def rename(self, source: str, target: str) -> None:
        self.events.append(("rename", source, target, None))
        move(self.names, self.folders, source, target)

    def unlink(self, path: str) -> None:
        if path not in self.names:
            raise FileNotFoundError(errno.ENOENT, "no such file", path)
        self.events.append(("unlink", path, self.names.pop(path), None))

    def sync_directory(self, path: str) -> None:
        self.events.append(("sync folder", path, None, None))

    # --- for tests ---------------------------------------------------------------------------------------

    def mark(self, what: str, value: object) -> None:
        """Something that the test wants to know of at a cut."""
        self.events.append(("mark", what, value, None))

    def image(self) -> Image:
        """The newest state: what is found when only processes died."""
        contents = {number: bytes(self.files[number]) for number in self.names.values()}
        return Image(dict(self.names), set(self.folders), contents)


def move(names: dict[str, int], folders: set[str], source: str, target: str) -> None:
    """A file, or a folder with what is in it."""
    if source in folders:
        for path in [path for path in folders if path == source or path.startswith(source + "/")]:
            folders.discard(path)
            folders.add(target + path[len(source) :])
        for path in [path for path in names if path.startswith(source + "/")]:
            names[target + path[len(source) :]] = names.pop(path)
    elif source in names:
        names[target] = names.pop(source)


class Replay:
    """The state at a cut of a log of events: what is durable, and what is on its way."""

    def __init__(self, start: Image, events: list[tuple], cut: int):
        self.durable = {number: bytearray(data) for number, data in start.contents.items()}
        self.pending: dict[int, list[tuple]] = {}
        self.names, self.folders = dict(start.names), set(start.folders)
        self.name_events: list[tuple] = []
        self.marks: list[tuple[str, object]] = []
        for event in events[:cut]:
            self._take(event)

    def _take(self, event: tuple) -> None:
        kind = event[0]
        if kind == "mark":
            self.marks.append(event[1:3])
        elif kind in ("write", "grow", "size"):
            self.pending.setdefault(event[1], []).append(event)
        elif kind == "sync":
            data = self.durable.setdefault(event[1], bytearray())
            for change_event in self.pending.pop(event[1], ()):
                change(data, change_event)
        elif kind == "sync folder":
            left = []
            for name_event in self.name_events:
                if any(os.path.dirname(path) == event[1] for path in touched(name_event)):
                    self._apply_name(self.names, self.folders, name_event)
                else:
                    left.append(name_event)
            self.name_events = left
        else:
            self.name_events.append(event)

    @staticmethod
    def _apply_name(names: dict[str, int], folders: set[str], event: tuple) -> None:
        kind, path, value, _ = event
        if kind == "create":
            names[path] = value
        elif kind == "unlink":
            # A name that was given to another file since is not that one's.
            if names.get(path) == value:
                del names[path]
        elif kind == "mkdir":
            folders.add(path)
        elif kind == "rmdir":
            folders.discard(path)
        elif kind == "rename":
            move(names, folders, path, value)

    def newest(self) -> Image:
        """What a process finds here, when only processes died: all that was asked for."""
        names, folders = dict(self.names), set(self.folders)
        for event in self.name_events:
            self._apply_name(names, folders, event)
        contents = {}
        for number in set(names.values()):
            data = bytearray(self.durable.get(number, b""))
            for event in self.pending.get(number, ()):
                change(data, event)
            contents[number] = bytes(data)
        return Image(names, folders, contents)

    def image(self, chance: random.Random) -> Image:
        """One state that a power failure here may leave."""
        names, folders = dict(self.names), set(self.folders)
        mood = chance.random()
        for event in self.name_events:
            if mood < 0.2 or (mood < 0.9 and chance.random() < 0.5):
                self._apply_name(names, folders, event)
        names = {path: number for path, number in names.items() if os.path.dirname(path) in folders}
        contents = {}
        for number in set(names.values()):
            data = self.durable.get(number, b"")
            pending = self.pending.get(number)
            if pending:
                data = bytearray(data)
                for event in pending:
                    torn(data, event, chance, mood)
            contents[number] = bytes(data)
        return Image(names, folders, contents)


def touched(event: tuple) -> list[str]:
    """The paths whose folders an event of a name changes."""
    return [event[1], event[2]] if event[0] == "rename" else [event[1]]


def torn(data: bytearray, event: tuple, chance: random.Random, mood: float) -> None:
    """Do what is left of a write that was not synced."""
    fate = 0.0 if mood < 0.1 else chance.random()
    if fate < 0.35 or event[0] != "write":
        if fate < 0.7:
            change(data, event)
        return
    kind, number, offset, value = event
    if fate < 0.55:
        change(data, (kind, number, offset, value[: chance.randrange(len(value) + 1)]))
    elif fate < 0.85:
        # Any sectors of it. The size may have grown to the end all the same.
        if chance.random() < 0.5:
            change(data, ("grow", number, offset + len(value), b""))
        first = offset - offset % SECTOR
        for sector in range(first, offset + len(value), SECTOR):
            begin, end = max(sector, offset), min(sector + SECTOR, offset + len(value))
            if chance.random() < 0.5:
                change(data, (kind, number, begin, value[begin - offset : end - offset]))
