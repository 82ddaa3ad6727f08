"""Room kept back for the day the disk is full: what frees room, and configuration, must get through then.

It is a file of zeros. Whoever is refused for lack of room gives it away and tries again at once; it is made
anew when there is room for it.
"""

import errno
from collections.abc import Callable
from typing import TypeVar

from shardbroker.storage.disk import Disk

Result = TypeVar("Result")

#: Bytes kept back: some hundred configurations, or segments with nothing but deletes.
SIZE = 4 << 20
NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


class Reserve:
    """The file at ``path``; ``taken`` says whether its room is held."""

    def __init__(self, disk: Disk, path: str):
        self.taken = False
        self._disk = disk
        self._path = path

    def take(self) -> bool:
        """Hold the room if it is not held; False when the disk has none."""
        if self.taken:
            return True
        try:
            exists = self._disk.exists(self._path)
            fd = self._disk.open(self._path) if exists else self._disk.create(self._path)
            try:
                self._disk.fallocate(fd, 0, SIZE)
            finally:
                self._disk.close(fd)
        except OSError as error:
            if error.errno in NO_ROOM:
                self.give()  # what was taken in part is needed more elsewhere
            return False
        self.taken = True
        return True

    def give(self) -> None:
        """Let the room go to whoever needs it now. Raises OSError."""
        self.taken = False
        if self._disk.exists(self._path):
            self._disk.unlink(self._path)

    def use_for(self, action: Callable[[], Result]) -> Result:
        """Do what must work on a full disk too, with the reserve's room if there is no other; its result.

        The room is held again afterwards as far as there is any: between the action and the next one that
        needs it nothing else may take it. Raises OSError as the action does.
        """
        try:
            return action()
        except OSError as error:
            if error.errno not in NO_ROOM:
                raise
        self.give()
        try:
            return action()
        finally:
            self.take()
